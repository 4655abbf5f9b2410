//! Which ports the stack refuses connections to: of those handed over, none was established.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use proxyip_common::event::{Event, EventKind};
use proxyip_common::flow::{FlowKey, FlowRecord, HandOff};
use proxyip_common::settings::PlacedPort;

/// A connection that was handed over this long ago would be established if the stack took it.
const PATIENCE_NS: u64 = 1_500_000_000;
/// The entry of a connection that is older may be left of one that its peer gave up.
const OLD_NS: u64 = 60_000_000_000;

/// When a connection to each port was established last, on the kernel programs' clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastEstablished(Arc<Mutex<HashMap<PlacedPort, u64>>>);

impl LastEstablished {
    /// Notes connections by the accept hand-off.
    pub(crate) fn note(&self, Event { kind, key, record, .. }: &Event) {
        if *kind == EventKind::Established as u8 && record.hand_off == HandOff::Accept as u8 {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let last = last.entry(place_of(key)).or_default();
            *last = record.established_ns.max(*last);
        }
    }

    /// 0 if there was none.
    fn of(&self, at: PlacedPort) -> u64 {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(&at).copied().unwrap_or(0)
    }
}

fn place_of(key: &FlowKey) -> PlacedPort {
    PlacedPort::new(key.namespace, key.local.0.port())
}

/// Connections that the stack has not established, by port.
#[derive(Debug, Default)]
pub(crate) struct Missing(BTreeMap<PlacedPort, Vec<(u64, IpAddr)>>);

impl Missing {
    /// Of the flow table's entries, those of the listener at this place.
    pub(crate) fn find(
        entries: impl Iterator<Item = Result<(FlowKey, FlowRecord)>>,
        listener: u16,
        now_ns: u64,
    ) -> Result<Self> {
        let mut missing = Self::default();
        for entry in entries {
            let (key, record) = entry?;
            let age = now_ns.saturating_sub(record.handed_over_ns);
            let is_missing = record.listener == listener
                && record.hand_off == HandOff::Accept as u8
                && record.established_ns == 0
                // Firewall rules are meant to drop it.
                && !record.has(FlowRecord::DENIED)
                && (PATIENCE_NS..OLD_NS).contains(&age);
            if is_missing {
                let client = record.client.0.to_socket_addr().ip();
                let of_port = missing.0.entry(place_of(&key)).or_default();
                of_port.push((record.handed_over_ns, client));
            }
        }
        Ok(missing)
    }

    /// The ports to which no connection has been established since others were handed over. Connections of clients
    /// that a set has do not count: a firewall rule with the set may drop them.
    pub(crate) fn refused(
        self,
        last: &LastEstablished,
        is_in_a_set: impl Fn(IpAddr) -> Result<bool>,
    ) -> Result<Vec<PlacedPort>> {
        /// Enough to find one that counts, without a long look at all clients of a busy port.
        const AT_MOST: usize = 64;
        let mut refused = Vec::new();
        for (at, connections) in self.0 {
            let since = last.of(at);
            let later = connections.iter().filter(|(handed_over, _)| *handed_over > since);
            for (_, client) in later.take(AT_MOST) {
                if !is_in_a_set(*client)? {
                    refused.push(at);
                    break;
                }
            }
        }
        Ok(refused)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use zerocopy::FromZeros as _;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 1000 * SECOND;
    const WEB: u16 = 3;
    const AT: PlacedPort = PlacedPort::new(1, 443);

    /// Handed over this many seconds ago.
    fn entry(namespace: u64, port: u16, ago: u64) -> (FlowKey, FlowRecord) {
        let peer: SocketAddr = "10.0.0.2:41000".parse().unwrap();
        let client: SocketAddr = "203.0.113.9:51234".parse().unwrap();
        let key =
            FlowKey::new(namespace, peer.into(), SocketAddr::from(([10, 0, 1, 2], port)).into());
        let record = FlowRecord {
            handed_over_ns: NOW - ago * SECOND,
            client: client.into(),
            listener: WEB,
            hand_off: HandOff::Accept as u8,
            ..FlowRecord::EMPTY
        };
        (key, record)
    }

    fn refused(entries: &[(FlowKey, FlowRecord)], last: &LastEstablished) -> Vec<PlacedPort> {
        let entries = entries.iter().map(|entry| Ok(*entry));
        Missing::find(entries, WEB, NOW).unwrap().refused(last, |_| Ok(false)).unwrap()
    }

    /// A connection to a port was established this many seconds ago.
    fn established(port: u16, ago: u64) -> LastEstablished {
        let last = LastEstablished::default();
        let (key, record) = entry(1, port, 0);
        let record = FlowRecord { established_ns: NOW - ago * SECOND, ..record };
        let mut event = Event::new_zeroed();
        (event.kind, event.key, event.record) = (EventKind::Established as u8, key, record);
        last.note(&event);
        last
    }

    #[test]
    fn a_port_is_refused_if_nothing_was_established_since() {
        for (entries, last, expected) in [
            (vec![entry(1, 443, 3)], LastEstablished::default(), vec![AT]),
            (vec![entry(1, 443, 3)], established(443, 4), vec![AT]),
            (vec![entry(1, 443, 3)], established(443, 1), vec![]),
            // Others do not say anything of this one.
            (vec![entry(1, 443, 3)], established(80, 1), vec![AT]),
            (
                vec![entry(2, 443, 3), entry(1, 443, 5)],
                established(443, 1),
                vec![PlacedPort::new(2, 443)],
            ),
            (vec![entry(1, 443, 1)], LastEstablished::default(), vec![]),
            (vec![entry(1, 443, 61)], LastEstablished::default(), vec![]),
        ] {
            assert_eq!(refused(&entries, &last), expected, "{entries:?}");
        }
    }

    #[test]
    fn what_is_not_missing_does_not_count() {
        let (key, record) = entry(1, 443, 3);
        let one = |record| refused(&[(key, record)], &LastEstablished::default());
        assert_eq!(one(record), [AT]);
        for other in [
            FlowRecord { established_ns: NOW, ..record },
            FlowRecord { hand_off: HandOff::Translate as u8, ..record },
            FlowRecord { flags: FlowRecord::DENIED, ..record },
            FlowRecord { listener: WEB + 1, ..record },
        ] {
            assert_eq!(one(other), [], "{other:?}");
        }
    }

    #[test]
    fn clients_that_a_set_has_do_not_count() {
        let blocked: IpAddr = "203.0.113.9".parse().unwrap();
        let (key, record) = entry(1, 443, 3);
        let free: SocketAddr = "198.51.100.7:1".parse().unwrap();
        let other = (key, FlowRecord { client: free.into(), ..record });
        for (entries, expected) in
            [(vec![(key, record)], vec![]), (vec![(key, record), other], vec![AT])]
        {
            let entries = entries.into_iter().map(Ok);
            let missing = Missing::find(entries, WEB, NOW).unwrap();
            let refused = missing.refused(&LastEstablished::default(), |one| Ok(one == blocked));
            assert_eq!(refused.unwrap(), expected);
        }
    }
}
