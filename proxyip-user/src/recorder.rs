//! Takes the kernel's events: remembers TLVs, writes the flow log, warns of what was refused.

use std::sync::Arc;

use proxyip_common::counter::{DropReason, Reason};
use proxyip_common::event::{Event, EventKind};
use proxyip_common::flow::HandOff;

use crate::flow_log::FlowLog;
use crate::flows::Flows;
use crate::line::{Connection, Line, verdict};
use crate::warnings::Warnings;

/// Where events go.
#[derive(Debug)]
pub struct Recorder {
    flows: Arc<Flows>,
    log: FlowLog,
    warnings: Warnings,
}

/// Label and sentence of a reason that a kernel program of another version gives.
const OTHER: (&str, &str) = ("other", "for a reason that this version does not know");

impl Recorder {
    /// Remembers in `flows`, writes to `log`.
    #[must_use]
    pub fn new(flows: Arc<Flows>, log: FlowLog) -> Self {
        Self { flows, log, warnings: Warnings::default() }
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
            Some(EventKind::Established) => self.write(|| Line {
                verdict: Some("accept"),
                ..Line::new("accept", event, self.flow(event))
            }),
            Some(EventKind::Closed) => {
                self.write(|| Line {
                    verdict: Some("accept"),
                    totals: Some(event.into()),
                    ..Line::new("close", event, self.flow(event))
                });
                self.flows.forget(&event.key);
            }
            Some(EventKind::Refused) => self.refused(event),
            Some(EventKind::LeftToKernel) => self.left_to_kernel(event),
            None => tracing::debug!("event of kind {}, which is not known", event.kind),
        }
    }

    /// Says what was suppressed or lost. Call it once a second.
    pub fn tick(&mut self) {
        for (reason, count) in self.warnings.tick() {
            tracing::warn!(reason, "{count} more of these in the last second");
        }
        let lost = self.log.take_lost();
        if lost > 0 {
            tracing::warn!("{lost} lines of the flow log were lost in the last second");
        }
    }

    /// Writes the last lines.
    pub fn close(mut self) {
        self.tick();
        self.log.close();
    }

    fn refused(&mut self, event: &Event) {
        let reason = DropReason::from_u8(event.reason);
        let (label, sentence) = reason.map_or(OTHER, |reason| (reason.label(), reason.sentence()));
        let verdict = reason.map_or("drop", verdict);
        if self.warnings.allow(label) {
            let done = if verdict == "reset" { "reset" } else { "dropped" };
            tracing::warn!(reason = label, "{} {done}: {sentence}", self.name(event));
        }
        self.write(|| Line {
            verdict: Some(verdict),
            reason: Some(label),
            ..Line::new(
                "refuse",
                event,
                self.attempt(event, HandOff::from_u8(event.record.hand_off)),
            )
        });
    }

    fn left_to_kernel(&mut self, event: &Event) {
        let reason = Reason::from_u8(event.reason);
        let (label, sentence) = reason.map_or(OTHER, |reason| (reason.label(), reason.sentence()));
        if self.warnings.allow(label) {
            tracing::warn!(
                reason = label,
                "{} left to the kernel, its PROXY header in place: {sentence}",
                self.name(event)
            );
        }
        self.write(|| Line {
            reason: Some(label),
            ..Line::new("left_to_kernel", event, self.attempt(event, None))
        });
    }

    /// The connection as warnings name it.
    fn name(&self, event: &Event) -> String {
        let listener = self.flows.listener(event.record.listener).unwrap_or_default();
        format!("connection from {} to {} ({listener:?})", event.key.peer, event.key.local)
    }

    fn flow(&self, event: &Event) -> Connection {
        Connection::Flow(Box::new(self.flows.describe(&event.key, &event.record)))
    }

    fn attempt(&self, event: &Event, hand_off: Option<HandOff>) -> Connection {
        Connection::Attempt {
            listener: self.flows.listener(event.record.listener),
            hand_off: hand_off.map(HandOff::label),
            peer: event.key.peer.0.to_socket_addr(),
            local: event.key.local.0.to_socket_addr(),
        }
    }

    fn write(&self, line: impl FnOnce() -> Line) {
        if self.log.is_on() {
            self.log.write(serde_json::to_vec(&line()).expect("a line has a JSON form"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proxyip_common::flow::FlowRecord;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{FlowFormat, Log};
    use crate::flows::tests::{HEADER, flows, key, record};

    fn event(kind: EventKind, reason: u8, record: FlowRecord) -> Event {
        Event {
            time_ns: 1_005_999_999,
            bytes_received: 100,
            bytes_sent: 2000,
            key: key("10.0.0.2:41000"),
            record,
            kind: kind as u8,
            reason,
            header_length: 0,
            reserved: [0; 4],
        }
    }

    fn recorder(path: &Path) -> Recorder {
        let log = Log { flows: FlowFormat::Json, path: Some(path.into()) };
        Recorder::new(Arc::new(flows()), FlowLog::open(&log).unwrap())
    }

    /// The lines that were written, without their times.
    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            let time = line.as_object_mut().unwrap().remove("time").unwrap();
            assert_eq!(time.as_str().unwrap().len(), "2026-11-20T08:00:00.123Z".len());
            line
        });
        lines.collect()
    }

    #[test]
    fn a_flow_from_header_to_close() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.log");
        let mut recorder = recorder(&path);
        recorder.handle(&event(EventKind::Header, 0, record()), HEADER);
        recorder.handle(&event(EventKind::Established, 0, record()), &[]);
        recorder.handle(&event(EventKind::Closed, 0, record()), &[]);
        recorder.handle(&event(EventKind::Established, 0, record()), &[]);
        recorder.close();
        let mut flow = json!({
            "event": "accept", "verdict": "accept", "listener": "web", "hand_off": "translate",
            "origin": "proxied", "version": "v2", "client": "203.0.113.9:51234",
            "peer": "10.0.0.2:41000", "local": "10.0.1.2:443", "destination": "192.0.2.1:443",
            "tlvs": {"alpn": "h2"},
        });
        let lines = lines(&path);
        assert_eq!(lines[0], flow);
        flow["event"] = "close".into();
        flow["bytes_received"] = 100.into();
        flow["bytes_sent"] = 2000.into();
        flow["duration_ms"] = 1000.into();
        assert_eq!(lines[1], flow);
        assert_eq!(lines[2].get("tlvs"), None, "TLVs are forgotten at the close");
    }

    #[test]
    fn connections_without_a_client() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.log");
        let mut recorder = recorder(&path);
        let refused = DropReason::V1Address as u8;
        let decided = FlowRecord { hand_off: HandOff::Observe as u8, ..FlowRecord::EMPTY };
        recorder.handle(&event(EventKind::Refused, refused, decided), &[]);
        recorder.handle(&event(EventKind::Refused, 255, FlowRecord::EMPTY), &[]);
        let left = Reason::Mptcp as u8;
        recorder.handle(&event(EventKind::LeftToKernel, left, FlowRecord::EMPTY), &[]);
        recorder.close();
        let (peer, local) = ("10.0.0.2:41000", "10.0.1.2:443");
        assert_eq!(
            lines(&path),
            [
                json!({"event": "refuse", "verdict": "reset", "reason": "v1_address",
                    "listener": "web", "hand_off": "observe", "peer": peer, "local": local}),
                json!({"event": "refuse", "verdict": "drop", "reason": "other",
                    "listener": "web", "peer": peer, "local": local}),
                json!({"event": "left_to_kernel", "reason": "mptcp", "listener": "web",
                    "peer": peer, "local": local}),
            ]
        );
    }
}
