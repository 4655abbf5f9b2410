//! Lines of the flow log, from events.
//!
//! Those of connections that are established, or were, are written by [`text`](super::text). Here they are made for the
//! documents, and to compare them with.

use proxyip_api::line::{Connection, Line, Received, Sent, Totals};
use proxyip_common::event::Event;
use proxyip_common::verdict::Verdict;

use super::period::{Period, lifetime};

/// A connection was established.
#[must_use]
pub fn accepted(event: &Event, period: &Period, connection: Connection) -> Line {
    let verdict = Some(Verdict::on_flow(&event.record).label().into());
    Line { verdict, ..line("accept", period, connection) }
}

/// A connection has ended.
#[must_use]
pub fn closed(event: &Event, period: &Period, connection: Connection) -> Line {
    let milliseconds = u64::try_from(lifetime(event).as_millis());
    let totals = Totals {
        received: Some(received(event)),
        sent: Some(sent(event)),
        duration_ms: Some(milliseconds.unwrap_or(u64::MAX)),
        ..totals(period)
    };
    Line {
        verdict: Some(Verdict::on_flow(&event.record).label().into()),
        totals: Some(totals),
        ..line("close", period, connection)
    }
}

/// A connection was refused, with this verdict and for this reason.
#[must_use]
pub fn refused(
    event: &Event,
    period: &Period,
    connection: Connection,
    (verdict, reason): (Verdict, &'static str),
) -> Line {
    let received = (event.packets_received != 0).then(|| received(event));
    Line {
        verdict: Some(verdict.label().into()),
        reason: Some(reason.into()),
        totals: Some(Totals { received, ..totals(period) }),
        ..line("refuse", period, connection)
    }
}

/// A connection was left to the kernel for this reason.
#[must_use]
pub fn left_to_kernel(period: &Period, connection: Connection, reason: &'static str) -> Line {
    let reason = Some(reason.into());
    Line { reason, ..line("left_to_kernel", period, connection) }
}

fn line(event: &'static str, period: &Period, connection: Connection) -> Line {
    let time = format!("{:.3}", period.end);
    Line { event: event.into(), time, verdict: None, reason: None, connection, totals: None }
}

fn totals(period: &Period) -> Totals {
    let [start, end] = [period.start, period.end].map(|time| format!("{time:.3}"));
    Totals { start, end, received: None, sent: None, duration_ms: None }
}

fn received(event: &Event) -> Received {
    Received { packets_received: event.packets_received, bytes_received: event.bytes_received }
}

fn sent(event: &Event) -> Sent {
    Sent { packets_sent: event.packets_sent, bytes_sent: event.bytes_sent }
}

#[cfg(test)]
mod tests {
    use proxyip_common::event::EventKind;

    use super::*;
    use crate::flowlog::flows::tests::event;
    use crate::flowlog::period::Clock;

    /// The line's text behind its event and time.
    fn text(line: &Line) -> String {
        let text = serde_json::to_string(line).unwrap();
        let time = format!(r#""time":"{}","#, line.time);
        text.split_once(&time).unwrap().1.replace(&line.time, "TIME")
    }

    #[test]
    fn a_refusal_has_the_packets_of_a_segment_and_else_none() {
        let period = |event: &Event| Period::of(event, &Clock::default());
        let attempt = |event: &Event| Connection::Attempt {
            listener: None,
            hand_off: None,
            peer: event.key.peer.0.to_socket_addr(),
            local: event.key.local.0.to_socket_addr(),
        };
        let mut event = event(EventKind::Refused, 0);
        let line = refused(&event, &period(&event), attempt(&event), (Verdict::Reset, "v2_tlv"));
        let common = r#""verdict":"reset","reason":"v2_tlv","peer":"10.0.0.2:41000","local":"10.0.1.2:443","start":"TIME","end":"TIME""#;
        assert_eq!(text(&line), format!(r#"{common},"packets_received":3,"bytes_received":100}}"#));
        event.packets_received = 0;
        let line = refused(&event, &period(&event), attempt(&event), (Verdict::Reset, "v2_tlv"));
        assert_eq!(text(&line), format!("{common}}}"));
    }
}
