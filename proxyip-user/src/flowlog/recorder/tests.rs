//! What a recorder writes for events.

use std::collections::BTreeSet;
use std::path::Path;

use proxyip_common::event::is_wanted;
use proxyip_common::flow::{FlowRecord, Origin};
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

#[test]
fn lines_are_in_the_file_once_they_are_handed_in() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows.log");
    let mut recorder = recorder(FlowFormat::Json, &path);
    for lines in 1..3 {
        recorder.handle(&event(EventKind::Established, 0), &[]);
        recorder.hand_in();
        while std::fs::read_to_string(&path).unwrap().lines().count() < lines {
            std::thread::yield_now();
        }
    }
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
fn a_connection_that_is_let_in_without_a_header() {
    let mut event = event(EventKind::Established, 0);
    (event.record.version, event.record.origin) = (0, Origin::Local as u8);
    let line = &lines(&[event])[0];
    assert_eq!((&line["origin"], &line["version"]), (&"local".into(), &"none".into()));
    let text = written(FlowFormat::Vpc, &[Event { kind: EventKind::Closed as u8, ..event }]);
    assert!(text.starts_with("2 - - 203.0.113.9 "), "{text}");
}

#[test]
fn a_client_behind_a_proxy_of_datagrams() {
    let mut event = event(EventKind::Established, 0);
    assert_eq!(lines(&[event])[0].get("transport"), None);
    event.record.flags |= FlowRecord::DATAGRAM;
    assert_eq!(lines(&[event])[0]["transport"], "datagram");
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
    let datagram = |mut event: Event| {
        event.record.flags |= FlowRecord::DATAGRAM;
        event
    };
    let text = written(FlowFormat::Json, &kinds.map(|(_, event)| datagram(event)));
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

/// What the kernel programs do not send would not be in the log.
#[test]
fn what_a_format_writes_is_wanted() {
    let mut plain = event(EventKind::Closed, 0);
    (plain.record.flags, plain.record.hand_off) = (0, HandOff::Translate as u8);
    let directory = tempfile::tempdir().unwrap();
    for format in [FlowFormat::Json, FlowFormat::Vpc, FlowFormat::Off] {
        let unwanted = recorder(format, &directory.path().join("flows.log")).unwanted();
        for kind in [EventKind::Established, EventKind::Closed] {
            let event = Event { kind: kind as u8, ..plain };
            let writes = format != FlowFormat::Off && !written(format, &[event]).is_empty();
            assert_eq!(is_wanted(kind, &event.record, unwanted), writes, "{format:?}, {kind:?}");
        }
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
