//! Takes the kernel's events: remembers TLVs, writes the flow log, warns of what was refused.

use std::sync::Arc;

use anyhow::Result;
use jiff::Timestamp;
use proxyip_api::line::{Connection, Line};
use proxyip_common::counter::{DropReason, Obstacle};
use proxyip_common::event::{Event, EventKind};
use proxyip_common::flow::HandOff;
use proxyip_common::verdict::Verdict;

use super::flows::Flows;
use super::line;
use super::losses::Losses;
use super::period::Period;
use super::queue::FlowLog;
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
                if let Err(reason) = self.flows.remember(event.key, &event.record, header) {
                    let sentence = reason.sentence();
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
            let connection = match event.record.version {
                0 => self.attempt(event, HandOff::from_u8(event.record.hand_off)),
                _ => self.flow(event),
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
        let listener = self.flows.listener(event.record.listener).unwrap_or_default();
        let (peer, local) = (event.key.peer, event.key.local);
        if event.record.version == 0 {
            return format!("connection from {peer} to {local} ({listener:?})");
        }
        format!("connection of {} from {peer} to {local} ({listener:?})", event.record.client)
    }

    fn flow(&self, event: &Event) -> Connection {
        Connection::Flow(Box::new(self.flows.describe(&event.key, &event.record)))
    }

    fn attempt(&self, event: &Event, hand_off: Option<HandOff>) -> Connection {
        Connection::Attempt {
            listener: self.flows.listener(event.record.listener),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use proxyip_common::flow::FlowRecord;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Destination;
    use crate::config::Log;
    use crate::flowlog::fields::tests::documented;
    use crate::flowlog::flows::tests::HEADER;
    use crate::flowlog::flows::tests::event;
    use crate::flowlog::flows::tests::flows;

    /// Of a connection without a client.
    fn attempt(kind: EventKind, reason: u8) -> Event {
        Event { record: FlowRecord::EMPTY, ..event(kind, reason) }
    }

    /// What `events` write to a flow log of this format.
    fn written(format: FlowFormat, events: &[Event]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.log");
        let mut recorder = recorder(format, &path);
        for event in events {
            let header = if event.kind == EventKind::Header as u8 { HEADER } else { &[] };
            recorder.handle(event, header);
        }
        recorder.close();
        std::fs::read_to_string(path).unwrap()
    }

    fn recorder(format: FlowFormat, path: &Path) -> Recorder {
        let log = Log { flows: format, to: Destination::File(path.into()) };
        Recorder::new(Arc::new(flows()), FlowLog::open(&log).unwrap())
    }

    /// The lines that `events` write, without their times.
    fn lines(events: &[Event]) -> Vec<Value> {
        let text = written(FlowFormat::Json, events);
        text.lines().map(|line| without_times(serde_json::from_str(line).unwrap())).collect()
    }

    /// If a connection's end is known, its line has a start, and an end that equals the line's time.
    fn without_times(mut line: Value) -> Value {
        let fields = line.as_object_mut().unwrap();
        let times = ["time", "end", "start"].map(|field| fields.remove(field));
        let [time, end, start] = times.map(|time| {
            let text = time?.as_str()?.to_owned();
            assert_eq!(text.len(), "2026-11-20T08:00:00.123Z".len());
            text.parse::<Timestamp>().ok()
        });
        let lasted = match line["event"].as_str() {
            // Times are cut to milliseconds, and the connection lasted for almost one more.
            Some("close") => Some(1000..=1001),
            Some("refuse") => Some(0..=0),
            _ => None,
        };
        assert_eq!(end, lasted.as_ref().and(time));
        let since = start.map(|start| time.unwrap().duration_since(start).as_millis());
        assert_eq!(since.is_some(), lasted.is_some());
        assert!(since.is_none_or(|since| lasted.unwrap().contains(&since)), "{since:?}");
        line
    }

    #[test]
    fn a_flow_from_header_to_close() {
        let kinds =
            [EventKind::Header, EventKind::Established, EventKind::Closed, EventKind::Established];
        let lines = lines(&kinds.map(|kind| event(kind, 0)));
        let mut flow = json!({
            "event": "accept", "verdict": "accept", "listener": "web", "hand_off": "translate",
            "origin": "proxied", "version": "v2", "client": "203.0.113.9:51234",
            "peer": "10.0.0.2:41000", "local": "10.0.1.2:443", "destination": "192.0.2.1:443",
            "tlvs": {"alpn": "h2"},
        });
        assert_eq!(lines[0], flow);
        flow["event"] = "close".into();
        flow["packets_received"] = 3.into();
        flow["bytes_received"] = 100.into();
        flow["packets_sent"] = 4.into();
        flow["bytes_sent"] = 2000.into();
        flow["duration_ms"] = 1000.into();
        assert_eq!(lines[1], flow);
        assert_eq!(lines[2].get("tlvs"), None, "TLVs are forgotten at the close");
    }

    #[test]
    fn a_flow_that_is_let_through_with_a_mark() {
        let marked = [EventKind::Established, EventKind::Closed].map(|kind| {
            let mut event = event(kind, 0);
            event.record.flags |= FlowRecord::DENIED;
            event
        });
        let verdicts = lines(&marked).into_iter().map(|mut line| line["verdict"].take());
        assert_eq!(verdicts.collect::<Vec<_>>(), ["mark", "mark"]);
    }

    #[test]
    fn a_client_that_is_denied() {
        assert_eq!(
            lines(&[event(EventKind::Refused, DropReason::DeniedDropped as u8)]),
            [json!({
                "event": "refuse", "verdict": "drop", "reason": "denied_dropped",
                "listener": "web", "hand_off": "translate", "origin": "proxied", "version": "v2",
                "client": "203.0.113.9:51234", "peer": "10.0.0.2:41000", "local": "10.0.1.2:443",
                "destination": "192.0.2.1:443", "packets_received": 3, "bytes_received": 100,
            })]
        );
    }

    #[test]
    fn connections_without_a_client() {
        let mut decided = attempt(EventKind::Refused, DropReason::V1Address as u8);
        decided.record.hand_off = HandOff::Observe as u8;
        let mut late = attempt(EventKind::Refused, 255);
        (late.packets_received, late.bytes_received) = (0, 0);
        let left = attempt(EventKind::LeftToKernel, Obstacle::Mptcp as u8);
        let (peer, local) = ("10.0.0.2:41000", "10.0.1.2:443");
        assert_eq!(
            lines(&[decided, late, left]),
            [
                json!({"event": "refuse", "verdict": "reset", "reason": "v1_address",
                    "listener": "web", "hand_off": "observe", "peer": peer, "local": local,
                    "packets_received": 3, "bytes_received": 100}),
                json!({"event": "refuse", "verdict": "drop", "reason": "other",
                    "listener": "web", "peer": peer, "local": local}),
                json!({"event": "left_to_kernel", "reason": "mptcp", "listener": "web",
                    "peer": peer, "local": local}),
            ]
        );
    }

    #[test]
    fn lines_have_the_documented_fields() {
        let mut late = attempt(EventKind::Refused, DropReason::HeaderTimeout as u8);
        late.record.hand_off = HandOff::Observe as u8;
        late.packets_received = 0;
        let mut segment = attempt(EventKind::Refused, DropReason::V1Address as u8);
        segment.record.hand_off = HandOff::Observe as u8;
        let kinds = [
            ("header", event(EventKind::Header, 0)),
            ("accept", event(EventKind::Established, 0)),
            ("close", event(EventKind::Closed, 0)),
            ("denied", event(EventKind::Refused, DropReason::DeniedDropped as u8)),
            ("segment", segment),
            ("late", late),
            ("left_to_kernel", attempt(EventKind::LeftToKernel, Obstacle::Mptcp as u8)),
        ];
        let text = written(FlowFormat::Json, &kinds.map(|(_, event)| event));
        let documented = documented();
        assert_eq!((text.lines().count(), documented.len()), (6, 6));
        // A header has no line.
        for ((kind, _), line) in kinds[1..].iter().zip(text.lines()) {
            let line: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
            let names: BTreeSet<_> = line.into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, documented[kind], "{kind}");
        }
    }

    #[test]
    fn records_of_a_vpc() {
        let events = [
            event(EventKind::Header, 0),
            event(EventKind::Established, 0),
            event(EventKind::Closed, 0),
            attempt(EventKind::Refused, 0),
            attempt(EventKind::LeftToKernel, 0),
        ];
        let text = written(FlowFormat::Vpc, &events);
        let beginnings = [
            "2 - - 203.0.113.9 10.0.1.2 51234 443 6 3 100 ",
            "2 - - 10.0.1.2 203.0.113.9 443 51234 6 4 2000 ",
            "2 - - 10.0.0.2 10.0.1.2 41000 443 6 3 100 ",
        ];
        assert_eq!(text.lines().count(), beginnings.len(), "{text}");
        for (line, beginning) in text.lines().zip(beginnings) {
            assert!(line.starts_with(beginning), "{line}");
            assert_eq!(line.split(' ').count(), 14, "{line}");
        }
    }

    #[test]
    fn a_vpc_is_told_of_events_that_were_lost() {
        let directory = tempfile::tempdir().unwrap();
        for (format, records) in [(FlowFormat::Vpc, 2), (FlowFormat::Json, 0)] {
            let path = directory.path().join(format!("{format:?}"));
            let mut recorder = recorder(format, &path);
            for events_lost in [7, 7, 8, 8, 9] {
                recorder.tick(events_lost);
            }
            recorder.close();
            let text = std::fs::read_to_string(path).unwrap();
            assert_eq!(text.lines().count(), records, "{text}");
            assert!(text.lines().all(|line| line.ends_with(" - SKIPDATA")), "{text}");
        }
    }
}
