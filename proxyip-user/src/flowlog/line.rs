//! A line of the flow log as JSON.

use std::net::SocketAddr;

use proxyip_common::event::Event;
use proxyip_common::verdict::Verdict;
use serde::Serialize;

use super::flow::Flow;
use super::period::{Period, lifetime};

/// A line of the flow log; its fields are described in [`Flow`] and below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// `accept`, `close`, `refuse` or `left_to_kernel`.
    pub event: &'static str,
    /// When it happened, RFC 3339 in UTC with milliseconds.
    pub time: String,
    /// `accept`, `mark`, `reset` or `drop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<&'static str>,
    /// The label of a [`DropReason`](proxyip_common::counter::DropReason) or [`Reason`](proxyip_common::counter::Reason).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Which connection.
    #[serde(flatten)]
    pub connection: Connection,
    /// What it was in all, once it is over.
    #[serde(flatten)]
    pub totals: Option<Totals>,
}

/// What a line is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Connection {
    /// A connection whose client is known.
    Flow(Box<Flow>),
    /// A connection that was refused or left to the kernel before its client was known.
    Attempt {
        /// The listener's name.
        #[serde(skip_serializing_if = "Option::is_none")]
        listener: Option<String>,
        /// How the connection would have been given to the application.
        #[serde(skip_serializing_if = "Option::is_none")]
        hand_off: Option<&'static str>,
        /// The load balancer's end.
        peer: SocketAddr,
        /// This host's end.
        local: SocketAddr,
    },
}

/// A connection's life, and sums over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// When it was established, or refused; like `time`.
    pub start: String,
    /// When it was closed, or refused; the same as `time`.
    pub end: String,
    /// What came in.
    #[serde(flatten)]
    pub received: Option<Received>,
    /// What went out.
    #[serde(flatten)]
    pub sent: Option<Sent>,
    /// From established to closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// What came from the client; of a refused connection the segment that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Received {
    /// As TCP counts them, modulo 2^32; without those of a handshake that it has not seen.
    pub packets_received: u32,
    /// Payload, without the header that was consumed.
    pub bytes_received: u64,
}

/// What went to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Like the packets received.
    pub packets_sent: u32,
    /// Payload, as far as it was acknowledged.
    pub bytes_sent: u64,
}

impl Line {
    /// A connection was established.
    #[must_use]
    pub fn accepted(event: &Event, connection: Connection) -> Self {
        let verdict = Some(Verdict::on_flow(&event.record).label());
        Self { verdict, ..Self::new("accept", &Period::of(event), connection) }
    }

    /// A connection has ended.
    #[must_use]
    pub fn closed(event: &Event, connection: Connection) -> Self {
        let period = Period::of(event);
        let milliseconds = u64::try_from(lifetime(event).as_millis());
        let totals = Totals {
            received: Some(event.into()),
            sent: Some(event.into()),
            duration_ms: Some(milliseconds.unwrap_or(u64::MAX)),
            ..Totals::new(&period)
        };
        Self {
            verdict: Some(Verdict::on_flow(&event.record).label()),
            totals: Some(totals),
            ..Self::new("close", &period, connection)
        }
    }

    /// A connection was refused, with this verdict and for this reason.
    #[must_use]
    pub fn refused(
        event: &Event,
        connection: Connection,
        verdict: Verdict,
        reason: &'static str,
    ) -> Self {
        let period = Period::of(event);
        let received = (event.packets_received != 0).then(|| event.into());
        Self {
            verdict: Some(verdict.label()),
            reason: Some(reason),
            totals: Some(Totals { received, ..Totals::new(&period) }),
            ..Self::new("refuse", &period, connection)
        }
    }

    /// A connection was left to the kernel for this reason.
    #[must_use]
    pub fn left_to_kernel(event: &Event, connection: Connection, reason: &'static str) -> Self {
        let reason = Some(reason);
        Self { reason, ..Self::new("left_to_kernel", &Period::of(event), connection) }
    }

    fn new(event: &'static str, period: &Period, connection: Connection) -> Self {
        let time = format!("{:.3}", period.end);
        Self { event, time, verdict: None, reason: None, connection, totals: None }
    }
}

impl Totals {
    fn new(period: &Period) -> Self {
        let [start, end] = [period.start, period.end].map(|time| format!("{time:.3}"));
        Self { start, end, received: None, sent: None, duration_ms: None }
    }
}

impl From<&Event> for Received {
    fn from(event: &Event) -> Self {
        Self { packets_received: event.packets_received, bytes_received: event.bytes_received }
    }
}

impl From<&Event> for Sent {
    fn from(event: &Event) -> Self {
        Self { packets_sent: event.packets_sent, bytes_sent: event.bytes_sent }
    }
}

#[cfg(test)]
mod tests {
    use proxyip_common::event::EventKind;

    use super::*;
    use crate::flowlog::flows::tests::event;

    /// The line's text behind its event and time.
    fn text(line: &Line) -> String {
        let text = serde_json::to_string(line).unwrap();
        let time = format!(r#""time":"{}","#, line.time);
        text.split_once(&time).unwrap().1.replace(&line.time, "TIME")
    }

    #[test]
    fn a_refusal_has_the_packets_of_a_segment_and_else_none() {
        let attempt = |event: &Event| Connection::Attempt {
            listener: None,
            hand_off: None,
            peer: event.key.peer.0.to_socket_addr(),
            local: event.key.local.0.to_socket_addr(),
        };
        let mut event = event(EventKind::Refused, 0);
        let line = Line::refused(&event, attempt(&event), Verdict::Reset, "v2_tlv");
        let common = r#""verdict":"reset","reason":"v2_tlv","peer":"10.0.0.2:41000","local":"10.0.1.2:443","start":"TIME","end":"TIME""#;
        assert_eq!(text(&line), format!(r#"{common},"packets_received":3,"bytes_received":100}}"#));
        event.packets_received = 0;
        let line = Line::refused(&event, attempt(&event), Verdict::Reset, "v2_tlv");
        assert_eq!(text(&line), format!("{common}}}"));
    }
}
