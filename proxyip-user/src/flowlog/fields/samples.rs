//! A line of each kind, and one of no kind with every field.

use anyhow::{Result, bail};
use proxyip_api::line::{Connection, Line};
use proxyip_api::tlvs::{OtherJson, SslJson, TlvsJson};
use proxyip_common::event::Event;
use proxyip_common::flow::{FlowRecord, HandOff};
use proxyip_common::verdict::Verdict;
use serde_json::{Map, Value};
use zerocopy::FromZeros;

use crate::flowlog::flow::flow;
use crate::flowlog::line;
use crate::flowlog::period::{Clock, Period};

/// A kind of line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sample {
    Accept,
    Close,
    /// A refusal of a client that a list denies.
    Denied,
    /// A refusal of a segment, its client not known.
    Segment,
    /// A refusal by the agent, of a header that is late.
    Late,
    LeftToKernel,
}

/// A line of each kind, with all that lines of this kind can have.
pub(super) fn samples() -> Result<Vec<(Sample, Map<String, Value>)>> {
    let late = Event::new_zeroed();
    let mut event = Event { packets_received: 1, ..late };
    event.record.flags = FlowRecord::DATAGRAM;
    let period = Period::of(&event, &Clock::default());
    let (tlvs, refusal) = (Some(full_tlvs()), (Verdict::Reset, "REASON"));
    let attempt = |hand_off| attempt(&event, hand_off);
    let decided = Some(HandOff::Accept);
    let lines = [
        (Sample::Accept, line::accepted(&event, &period, known(&event, tlvs.clone()))),
        (Sample::Close, line::closed(&event, &period, known(&event, tlvs))),
        (Sample::Denied, line::refused(&event, &period, known(&event, None), refusal)),
        (Sample::Segment, line::refused(&event, &period, attempt(decided), refusal)),
        (Sample::Late, line::refused(&late, &period, attempt(decided), refusal)),
        (Sample::LeftToKernel, line::left_to_kernel(&period, attempt(None), "REASON")),
    ];
    let keys = |(sample, line): (Sample, Line)| match serde_json::to_value(&line)? {
        Value::Object(line) => Ok((sample, line)),
        other => bail!("a line is {other}"),
    };
    lines.into_iter().map(keys).collect()
}

fn known(event: &Event, tlvs: Option<TlvsJson>) -> Connection {
    Connection::Flow(Box::new(flow(&event.key, &event.record, Some("LISTENER".into()), tlvs)))
}

fn attempt(event: &Event, hand_off: Option<HandOff>) -> Connection {
    Connection::Attempt {
        listener: Some("LISTENER".into()),
        hand_off: hand_off.map(|hand_off| hand_off.label().into()),
        peer: event.key.peer.0.to_socket_addr(),
        local: event.key.local.0.to_socket_addr(),
    }
}

/// A line with every field that there is, which no event has.
pub(super) fn full_line() -> Line {
    let mut event = Event::new_zeroed();
    event.record.flags = FlowRecord::DATAGRAM;
    let period = Period::of(&event, &Clock::default());
    // Names in the TLVs are looked for in the TLVs.
    let closed = line::closed(&event, &period, known(&event, Some(TlvsJson::default())));
    Line { reason: Some("REASON".into()), ..closed }
}

pub(super) fn full_tlvs() -> TlvsJson {
    let text = || Some("TEXT".to_owned());
    TlvsJson {
        alpn: text(),
        authority: text(),
        unique_id: text(),
        ssl: Some(full_ssl()),
        netns: text(),
        aws_vpc_endpoint_id: text(),
        azure_private_link_id: Some(1),
        gcp_psc_connection_id: text(),
        other: vec![OtherJson { kind: "0xe4".into(), value: "00".into() }],
    }
}

pub(super) fn full_ssl() -> SslJson {
    let text = || Some("TEXT".to_owned());
    SslJson {
        client: 1,
        verify: 0,
        version: text(),
        cn: text(),
        cipher: text(),
        sig_alg: text(),
        key_alg: text(),
        group: text(),
        sig_scheme: text(),
        client_cert: text(),
        other: vec![OtherJson { kind: "0xe4".into(), value: "00".into() }],
    }
}
