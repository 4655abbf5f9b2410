//! Takes the kernel's events: remembers TLVs, writes the flow log, warns of what was refused.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use anyhow::Result;
use jiff::Timestamp;
use proxyip_api::line::{Connection, Line};
use proxyip_common::counter::{DropReason, Obstacle};
use proxyip_common::event::{Event, EventKind, muted};
use proxyip_common::flow::{FlowRecord, HandOff};
use proxyip_common::verdict::Verdict;

use super::flows::Flows;
use super::line;
use super::losses::Losses;
use super::period::Period;
use super::queue::{FlowLog, NextLog};
use super::text::Scribe;
use super::vpc;
use super::warnings::Warnings;
use crate::config::FlowFormat;
use crate::json;

/// Where events go.
#[derive(Debug)]
pub struct Recorder {
    flows: Arc<Flows>,
    log: FlowLog,
    scribe: Scribe,
    warnings: Warnings,
    losses: Losses,
}

/// Label and sentence of a reason that a kernel program of another version gives.
const OTHER: (&str, &str) = ("other", "for a reason that this version does not know");

impl Recorder {
    /// Remembers in `flows`, writes to `log`.
    #[must_use]
    pub fn new(flows: Arc<Flows>, log: FlowLog) -> Self {
        let losses = Losses::since(Timestamp::now());
        let (scribe, warnings) = (Scribe::default(), Warnings::default());
        Self { flows, log, scribe, warnings, losses }
    }

    /// Gives the writer of the flow log the lines of the events that were handled.
    pub fn hand_in(&mut self) {
        self.log.hand_in();
    }

    /// Takes one event and the header bytes that came with it. See [`hand_in`](Self::hand_in).
    pub fn handle(&mut self, event: &Event, header: &[u8]) {
        match EventKind::from_u8(event.kind) {
            Some(EventKind::Header) => {
                if let Err(error) = self.flows.remember(event.key, &event.record, header) {
                    let sentence = DropReason::from(error).sentence();
                    tracing::debug!("TLVs from {} are not kept: {sentence}", event.key.peer);
                }
            }
            Some(EventKind::Established) => {
                self.connection(event);
            }
            Some(EventKind::Closed) => {
                self.connection(event);
                if event.record.has(FlowRecord::TLVS) {
                    self.flows.forget(&event.key);
                }
            }
            Some(EventKind::Refused) => self.refused(event),
            Some(EventKind::LeftToKernel) => self.left_to_kernel(event),
            None => tracing::debug!("event of kind {}, which is not known", event.kind),
        }
    }

    /// Says what was suppressed or lost. Call it once a second, with how many events were lost in all.
    pub fn tick(&mut self, events_lost: u64) {
        for (reason, count) in self.warnings.tick() {
            tracing::warn!(reason, "{count} more of these in the last second");
        }
        let lines = self.log.take_lost();
        if lines > 0 {
            tracing::warn!("{lines} lines of the flow log were lost in the last second");
        }
        let skipped = self.losses.tick(lines > 0, events_lost, Timestamp::now());
        if let (Some(period), FlowFormat::Vpc) = (skipped, self.log.format()) {
            self.log.write(|line| line.extend(vpc::skipped(&period).into_bytes()));
            self.hand_in();
        }
    }

    /// Writes in another format, or to another destination, from now on.
    pub fn exchange(&mut self, next: NextLog) {
        self.log.exchange(next);
    }

    /// The events that need not be sent: those that only the flow log would take, and not in its format. See [`muted`].
    #[must_use]
    pub const fn unwanted(&self) -> u32 {
        match self.log.format() {
            FlowFormat::Json => 0,
            FlowFormat::Vpc => muted::ESTABLISHED,
            FlowFormat::Off => muted::ESTABLISHED | muted::CLOSED,
        }
    }

    /// Opens the flow log's file anew; see [`FlowLog::reopen`].
    ///
    /// # Errors
    /// If it cannot be done; the old file stays in use.
    pub fn reopen(&mut self) -> Result<()> {
        self.log.reopen()
    }

    /// Writes the last lines.
    pub fn close(mut self) {
        self.tick(0);
        self.log.close();
    }

    fn refused(&mut self, event: &Event) {
        let reason = DropReason::from_u8(event.reason);
        let (label, sentence) = reason.map_or(OTHER, |reason| (reason.label(), reason.sentence()));
        let verdict = reason.map_or(Verdict::Drop, Verdict::on_refusal);
        if self.warnings.allow(label) {
            let done = if verdict == Verdict::Reset { "reset" } else { "dropped" };
            tracing::warn!(reason = label, "{} {done}: {sentence}", self.name(event));
        }
        self.write(event, |this, period| {
            let connection = if event.record.is_known() {
                this.flow(event)
            } else {
                this.attempt(event, HandOff::from_u8(event.record.hand_off))
            };
            this.write_line(&line::refused(event, period, connection, (verdict, label)));
        });
    }

    fn left_to_kernel(&mut self, event: &Event) {
        let reason = Obstacle::from_u8(event.reason);
        let (label, sentence) = reason.map_or(OTHER, |reason| (reason.label(), reason.sentence()));
        if self.warnings.allow(label) {
            tracing::warn!(
                reason = label,
                "{} left to the kernel, its PROXY header in place: {sentence}",
                self.name(event)
            );
        }
        self.write(event, |this, period| {
            this.write_line(&line::left_to_kernel(period, this.attempt(event, None), label));
        });
    }

    /// The connection as warnings name it.
    fn name(&self, event: &Event) -> String {
        let listener = self.flows.listener(&event.key, &event.record).unwrap_or_default();
        let (peer, local) = (event.key.peer, event.key.local);
        if !event.record.is_known() {
            return format!("connection from {peer} to {local} ({listener:?})");
        }
        format!("connection of {} from {peer} to {local} ({listener:?})", event.record.client)
    }

    fn flow(&self, event: &Event) -> Connection {
        Connection::Flow(Box::new(self.flows.describe(&event.key, &event.record)))
    }

    fn attempt(&self, event: &Event, hand_off: Option<HandOff>) -> Connection {
        Connection::Attempt {
            listener: self.flows.listener(&event.key, &event.record),
            hand_off: hand_off.map(|hand_off| hand_off.label().into()),
            peer: event.key.peer.0.to_socket_addr(),
            local: event.key.local.0.to_socket_addr(),
        }
    }

    /// Writes an event of a connection that is established, or was.
    fn connection(&mut self, event: &Event) {
        self.write(event, |Self { flows, log, scribe, .. }, period| {
            flows.with_known(&event.key, &event.record, |known| {
                log.write(|line| scribe.write(line, event, period, known));
            });
        });
    }

    fn write_line(&mut self, line: &Line) {
        self.log.write(|bytes| json::write(bytes, line).expect("a line has a JSON form"));
    }

    /// Writes the event in the log's format. `write_json` does it for JSON.
    fn write(&mut self, event: &Event, write_json: impl FnOnce(&mut Self, &Period)) {
        let period = || Period::of(event, self.flows.clock());
        match self.log.format() {
            FlowFormat::Json => {
                let period = period();
                write_json(self, &period);
            }
            FlowFormat::Vpc => {
                for record in vpc::records(event, &period()) {
                    self.log.write(|bytes| bytes.extend(record.into_bytes()));
                }
            }
            FlowFormat::Off => {}
        }
    }
}
