//! Takes the kernel's events: remembers TLVs, writes the flow log, warns of what was refused.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use anyhow::Result;
use jiff::Timestamp;
use proxyip_api::line::{Connection, Line};
use proxyip_common::counter::{DropReason, Obstacle};
use proxyip_common::event::{Event, EventKind, muted};
use proxyip_common::flow::HandOff;
use proxyip_common::verdict::Verdict;

use super::flows::Flows;
use super::line;
use super::losses::Losses;
use super::period::Period;
use super::queue::{FlowLog, NextLog};
use super::vpc;
use super::warnings::Warnings;
use crate::config::FlowFormat;
use crate::json;

/// Where events go.
#[derive(Debug)]
pub struct Recorder {
    flows: Arc<Flows>,
    log: FlowLog,
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
        Self { flows, log, warnings: Warnings::default(), losses }
    }

    /// Takes one event and the header bytes that came with it.
    pub fn handle(&mut self, event: &Event, header: &[u8]) {
        match EventKind::from_u8(event.kind) {
            Some(EventKind::Header) => {
                if let Err(error) = self.flows.remember(event.key, &event.record, header) {
                    let sentence = DropReason::from(error).sentence();
                    tracing::debug!("TLVs from {} are not kept: {sentence}", event.key.peer);
                }
            }
            Some(EventKind::Established) => {
                self.write(event, |period| line::accepted(event, period, self.flow(event)));
            }
            Some(EventKind::Closed) => {
                self.write(event, |period| line::closed(event, period, self.flow(event)));
                self.flows.forget(&event.key);
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
            self.log.write(vpc::skipped(&period).into());
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
    pub fn reopen(&self) -> Result<()> {
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
        self.write(event, |period| {
            let connection = if event.record.is_known() {
                self.flow(event)
            } else {
                self.attempt(event, HandOff::from_u8(event.record.hand_off))
            };
            line::refused(event, period, connection, (verdict, label))
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
        self.write(event, |period| line::left_to_kernel(period, self.attempt(event, None), label));
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

    /// Writes the event in the log's format: `line`, if that is JSON.
    fn write(&self, event: &Event, line: impl FnOnce(&Period) -> Line) {
        let period = || Period::of(event, self.flows.clock());
        match self.log.format() {
            FlowFormat::Json => {
                self.log.write(json::to_vec(&line(&period())).expect("a line has a JSON form"));
            }
            FlowFormat::Vpc => {
                for record in vpc::records(event, &period()) {
                    self.log.write(record.into());
                }
            }
            FlowFormat::Off => {}
        }
    }
}
