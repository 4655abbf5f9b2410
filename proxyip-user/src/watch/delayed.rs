//! Ports whose connections are established late: the first segment came before its connection, and was sent again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use proxyip_common::counter::DropReason;
use proxyip_common::event::{Event, EventKind};
use proxyip_common::flow::{FlowKey, HandOff};
use proxyip_common::settings::PlacedPort;

/// A port is judged by this many connections at least.
const LEAST: u32 = 5;
/// How many connections may wait for their second try. More at a time are no delay, but a flood: all are forgotten.
const MOST: usize = 4096;
/// How long a connection waits. Its peer has given up by then, or tries so seldom that it tells nothing of a delay.
const LONGEST: Duration = Duration::from_mins(1);

/// What the events say of connections by the accept hand-off.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delays(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Connections whose first segment found no connection, and when it last did.
    waiting: HashMap<FlowKey, Instant>,
    ports: BTreeMap<PlacedPort, Counts>,
}

/// The established connections of a port.
#[derive(Debug, Default)]
struct Counts {
    all: u32,
    /// Of those, the ones with a first segment that was sent again.
    late: u32,
}

impl Delays {
    pub(crate) fn note(&self, Event { kind, reason, key, record, .. }: &Event) {
        const REFUSED: u8 = EventKind::Refused as u8;
        const ESTABLISHED: u8 = EventKind::Established as u8;
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State { waiting, ports } = &mut *state;
        match *kind {
            REFUSED if *reason == DropReason::PayloadWithoutSocket as u8 => {
                if waiting.len() >= MOST && !waiting.contains_key(key) {
                    waiting.clear();
                }
                waiting.insert(*key, Instant::now());
            }
            ESTABLISHED if record.hand_off == HandOff::Accept as u8 => {
                let at = PlacedPort::new(key.namespace, key.local.0.port());
                let counts = ports.entry(at).or_default();
                counts.all = counts.all.saturating_add(1);
                counts.late += u32::from(!waiting.is_empty() && waiting.remove(key).is_some());
            }
            _ => {}
        }
    }

    /// The ports whose connections are late. Each connection is judged once.
    pub(crate) fn take(&self) -> Vec<PlacedPort> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> Vec<PlacedPort> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting.retain(|_, since| now.saturating_duration_since(*since) < LONGEST);
        let judged = state.ports.extract_if(.., |_, counts| counts.all >= LEAST);
        let late = judged.filter(|(_, counts)| counts.late.saturating_mul(2) >= counts.all);
        late.map(|(at, _)| at).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proxyip_common::flow::FlowRecord;
    use zerocopy::FromZeros as _;

    use super::*;

    fn event(kind: EventKind, peer_port: u16, port: u16) -> Event {
        let mut event = Event::new_zeroed();
        let ends = [([10, 0, 0, 2], peer_port), ([10, 0, 1, 2], port)].map(SocketAddr::from);
        event.key = FlowKey::new(1, ends[0].into(), ends[1].into());
        event.record = FlowRecord { hand_off: HandOff::Accept as u8, ..FlowRecord::EMPTY };
        (event.kind, event.reason) = (kind as u8, DropReason::PayloadWithoutSocket as u8);
        event
    }

    /// So many connections to a port. The first ones are late.
    fn connect(delays: &Delays, port: u16, (all, late): (u16, u16)) {
        for peer_port in 0..all {
            if peer_port < late {
                delays.note(&event(EventKind::Refused, peer_port, port));
            }
            delays.note(&event(EventKind::Established, peer_port, port));
        }
    }

    #[test]
    fn a_port_is_late_if_half_of_enough_connections_are() {
        for (connections, expected) in [
            ((5, 5), true),
            ((5, 3), true),
            ((5, 2), false),
            ((10, 5), true),
            ((11, 5), false),
            ((4, 4), false),
            ((9, 4), false),
            ((9, 0), false),
        ] {
            let delays = Delays::default();
            connect(&delays, 443, connections);
            let expected = if expected { vec![PlacedPort::new(1, 443)] } else { vec![] };
            assert_eq!(delays.take(), expected, "{connections:?}");
            assert_eq!(delays.take(), [], "each is judged once");
        }
    }

    #[test]
    fn few_connections_are_judged_together_with_later_ones() {
        let delays = Delays::default();
        for (before, connections) in [(true, (4, 4)), (false, (1, 1))] {
            connect(&delays, 443, connections);
            connect(&delays, 80, (20, 0));
            assert_eq!(delays.take().is_empty(), before);
        }
    }

    #[test]
    fn what_is_refused_for_good_or_translated_does_not_count() {
        let delays = Delays::default();
        for peer_port in 0..9 {
            delays.note(&event(EventKind::Refused, peer_port, 443));
        }
        assert_eq!(delays.take(), []);
        for peer_port in 0..9 {
            let mut event = event(EventKind::Established, peer_port, 443);
            event.record.hand_off = HandOff::Translate as u8;
            delays.note(&event);
        }
        assert_eq!(delays.take(), []);
    }

    /// A peer may never send its segment again. Its port is used by another connection some day.
    #[test]
    fn what_waits_for_too_long_is_forgotten() {
        let (delays, begin) = (Delays::default(), Instant::now());
        for peer_port in 0..5 {
            delays.note(&event(EventKind::Refused, peer_port, 443));
        }
        let waiting = || delays.0.lock().unwrap().waiting.len();
        assert_eq!((delays.take_at(begin + LONGEST / 2), waiting()), (vec![], 5));
        assert_eq!((delays.take_at(begin + 2 * LONGEST), waiting()), (vec![], 0));
        connect(&delays, 443, (5, 0));
        assert_eq!(delays.take(), []);
    }

    #[test]
    fn a_flood_is_forgotten() {
        let delays = Delays::default();
        for peer_port in 0..=u16::try_from(MOST).unwrap() {
            delays.note(&event(EventKind::Refused, peer_port, 443));
        }
        assert_eq!(delays.0.lock().unwrap().waiting.len(), 1);
    }
}
