//! The flow log in the default format of AWS VPC flow logs, version 2.
//!
//! The fields are `version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end
//! action log-status`, see <https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html>. Account and
//! interface are not known here.

use std::net::SocketAddr;

use proxyip_common::event::{Event, EventKind};

use super::period::Period;

/// The records of an event, for a connection that lasted for `period`. A closed connection has one for each
/// direction, a refused one only for its way in. Other events have none.
#[must_use]
pub fn records(event: &Event, period: &Period) -> Vec<String> {
    let known = event.record.is_known();
    let client = if known { event.record.client.0 } else { event.key.peer.0 }.to_socket_addr();
    let local = event.key.local.0.to_socket_addr();
    let received = (event.packets_received, event.bytes_received);
    let sent = (event.packets_sent, event.bytes_sent);
    match EventKind::from_u8(event.kind) {
        Some(EventKind::Closed) => vec![
            record(client, local, received, period, "ACCEPT"),
            record(local, client, sent, period, "ACCEPT"),
        ],
        Some(EventKind::Refused) => vec![record(client, local, received, period, "REJECT")],
        _ => Vec::new(),
    }
}

/// The record of a time in which others were lost.
#[must_use]
pub fn skipped(period: &Period) -> String {
    let (start, end) = (period.start.as_second(), period.end.as_second());
    format!("2 - - - - - - - - - {start} {end} - SKIPDATA")
}

fn record(
    from: SocketAddr,
    to: SocketAddr,
    (packets, bytes): (u32, u64),
    period: &Period,
    action: &str,
) -> String {
    let (source, source_port) = (from.ip(), from.port());
    let (destination, destination_port) = (to.ip(), to.port());
    let (start, end) = (period.start.as_second(), period.end.as_second());
    // The protocol is TCP.
    format!(
        "2 - - {source} {destination} {source_port} {destination_port} 6 {packets} {bytes} {start} {end} {action} OK"
    )
}

#[cfg(test)]
mod tests {
    use proxyip_common::flow::{FlowKey, FlowRecord};

    use super::*;
    use crate::flowlog::flows::tests::event;

    fn period() -> Period {
        let [start, end] =
            ["2026-11-20T08:00:00.999Z", "2026-11-20T08:01:01Z"].map(|time| time.parse().unwrap());
        Period { start, end }
    }

    #[test]
    fn a_closed_connection_has_a_record_for_each_direction() {
        let both = [
            "2 - - 203.0.113.9 10.0.1.2 51234 443 6 3 100 1795161600 1795161661 ACCEPT OK",
            "2 - - 10.0.1.2 203.0.113.9 443 51234 6 4 2000 1795161600 1795161661 ACCEPT OK",
        ];
        let mut closed = event(EventKind::Closed, 0);
        assert_eq!(records(&closed, &period()), both);
        closed.record.flags |= FlowRecord::DENIED;
        assert_eq!(records(&closed, &period()), both, "a mark lets it through");
    }

    #[test]
    fn ipv6_addresses_are_written_as_such() {
        let [client, peer, local]: [SocketAddr; 3] =
            ["[2001:db8::9]:51234", "[2001:db8:1::2]:41000", "[2001:db8:1::1]:443"]
                .map(|address| address.parse().unwrap());
        let mut closed = event(EventKind::Closed, 0);
        closed.key = FlowKey::new(1, peer.into(), local.into());
        closed.record.client = client.into();
        assert_eq!(
            records(&closed, &period()),
            [
                "2 - - 2001:db8::9 2001:db8:1::1 51234 443 6 3 100 1795161600 1795161661 ACCEPT OK",
                "2 - - 2001:db8:1::1 2001:db8::9 443 51234 6 4 2000 1795161600 1795161661 ACCEPT OK",
            ]
        );
    }

    #[test]
    fn a_refused_connection_has_the_client_or_else_the_peer() {
        let mut refused = event(EventKind::Refused, 0);
        assert_eq!(
            records(&refused, &period()),
            ["2 - - 203.0.113.9 10.0.1.2 51234 443 6 3 100 1795161600 1795161661 REJECT OK"]
        );
        refused.record = FlowRecord::EMPTY;
        assert_eq!(
            records(&refused, &period()),
            ["2 - - 10.0.0.2 10.0.1.2 41000 443 6 3 100 1795161600 1795161661 REJECT OK"]
        );
        (refused.packets_received, refused.bytes_received) = (0, 0);
        assert_eq!(
            records(&refused, &period()),
            ["2 - - 10.0.0.2 10.0.1.2 41000 443 6 0 0 1795161600 1795161661 REJECT OK"]
        );
    }

    #[test]
    fn other_events_have_no_record() {
        for kind in [EventKind::Header, EventKind::Established, EventKind::LeftToKernel] {
            assert_eq!(records(&event(kind, 0), &period()), [""; 0]);
        }
    }

    #[test]
    fn what_was_lost_is_said() {
        assert_eq!(skipped(&period()), "2 - - - - - - - - - 1795161600 1795161661 - SKIPDATA");
    }
}
