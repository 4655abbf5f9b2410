//! How long connections to a port are translated because the stack refused others, or took them late: each time longer, and
//! never for good.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proxyip_common::counter::Obstacle;
use proxyip_common::settings::PlacedPort;

use crate::config::{HandOffChoice, Listener};

/// How long the first time.
const FIRST: Duration = Duration::from_mins(1);
/// How long at most.
const LONGEST: Duration = Duration::from_hours(1);
/// If the same happens again within this after accept was tried again, the next time is longer.
const PROBATION: Duration = Duration::from_mins(15);

/// The ports that have fallen back, or have lately.
#[derive(Clone, Debug, Default)]
pub struct Fallbacks(Arc<Mutex<BTreeMap<PlacedPort, Held>>>);

/// A port that has fallen back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    reason: Obstacle,
    hold: Duration,
    /// On the kernel programs' clock.
    until_ns: u64,
}

/// A port whose connections are translated now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Degraded {
    /// The port, and its namespace.
    pub at: PlacedPort,
    /// Why.
    pub reason: Obstacle,
    /// When accept is tried again, in nanoseconds of `CLOCK_MONOTONIC`.
    pub until_ns: u64,
}

/// That a port falls back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fall {
    pub(crate) at: PlacedPort,
    pub(crate) reason: Obstacle,
    /// When, on the kernel programs' clock.
    pub(crate) now_ns: u64,
}

impl Held {
    fn is_over(&self, now_ns: u64) -> bool {
        self.until_ns <= now_ns
    }

    /// Whether it no longer counts how long it was.
    fn is_forgotten(&self, now_ns: u64) -> bool {
        let over = Duration::from_nanos(now_ns.saturating_sub(self.until_ns));
        self.is_over(now_ns) && over > PROBATION
    }
}

impl Fallbacks {
    /// The ports of a listener that have fallen back. A port takes its fallback along to another listener, because the
    /// kernel programs look for it by port and namespace.
    #[must_use]
    pub fn of(&self, listener: &Listener, now_ns: u64) -> Vec<Degraded> {
        if listener.hand_off != HandOffChoice::Auto {
            return Vec::new();
        }
        let ports = self.ports();
        let held = ports.iter().filter(|(at, _)| listener.ports.contains(&at.port));
        let held = held.filter(|(_, held)| !held.is_over(now_ns));
        let degraded = |(at, held): (&PlacedPort, &Held)| {
            let Held { reason, until_ns, .. } = *held;
            Degraded { at: *at, reason, until_ns }
        };
        held.map(degraded).collect()
    }

    /// Whether a port falls back now.
    pub(crate) fn holds(&self, at: PlacedPort, now_ns: u64) -> bool {
        self.ports().get(&at).is_some_and(|held| !held.is_over(now_ns))
    }

    /// The next fallback of a port: its end.
    pub(crate) fn next(&self, at: PlacedPort, now_ns: u64) -> u64 {
        let before = self.ports().get(&at).copied().filter(|held| !held.is_forgotten(now_ns));
        let hold = before.map_or(FIRST, |held| (held.hold * 2).min(LONGEST));
        now_ns.saturating_add(u64::try_from(hold.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Notes that a port falls back from now on.
    pub(crate) fn begin(&self, fall: Fall, until_ns: u64) {
        let Fall { at, reason, now_ns } = fall;
        let hold = Duration::from_nanos(until_ns.saturating_sub(now_ns));
        self.ports().insert(at, Held { reason, hold, until_ns });
    }

    /// The ports that have tried accept again since `before_ns`.
    pub(crate) fn ended(&self, before_ns: u64, now_ns: u64) -> Vec<PlacedPort> {
        let mut ports = self.ports();
        ports.retain(|_, held| !held.is_forgotten(now_ns));
        let ended = ports.iter().filter(|(_, held)| held.is_over(now_ns));
        let ended = ended.filter(|(_, held)| !held.is_over(before_ns));
        ended.map(|(at, _)| *at).collect()
    }

    fn ports(&self) -> MutexGuard<'_, BTreeMap<PlacedPort, Held>> {
        // Nothing can panic between the changes of an entry.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const SECOND: u64 = 1_000_000_000;

    fn listener(name: &str, ports: &str, hand_off: &str) -> Listener {
        let text = format!(
            "[[listener]]\nname='{name}'\nports={ports}\nhand_off='{hand_off}'\ntrusted=['10.0.0.0/8']\n"
        );
        Config::from_toml(&text).unwrap().listeners.remove(0)
    }

    fn fall_back(fallbacks: &Fallbacks, at: PlacedPort, second: u64) -> u64 {
        let now_ns = second * SECOND;
        let until_ns = fallbacks.next(at, now_ns);
        fallbacks.begin(Fall { at, reason: Obstacle::Delayed, now_ns }, until_ns);
        (until_ns - now_ns) / SECOND
    }

    #[test]
    fn a_port_that_is_refused_again_waits_longer_up_to_an_hour() {
        let (fallbacks, at) = (Fallbacks::default(), PlacedPort::new(1, 443));
        let mut now_s = 100;
        for expected in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
            assert_eq!(fall_back(&fallbacks, at, now_s), expected);
            now_s += expected + 10;
        }
        // It went well for long enough.
        now_s += 3600;
        assert_eq!(fall_back(&fallbacks, at, now_s), 60);
    }

    #[test]
    fn other_ports_and_namespaces_are_not_concerned() {
        let fallbacks = Fallbacks::default();
        let (at, port, namespace) =
            (PlacedPort::new(1, 443), PlacedPort::new(1, 80), PlacedPort::new(2, 443));
        fall_back(&fallbacks, at, 100);
        let web = listener("web", "[80, 443]", "auto");
        let of = |now_s| fallbacks.of(&web, now_s * SECOND);
        assert_eq!(of(159), [Degraded { at, reason: Obstacle::Delayed, until_ns: 160 * SECOND }]);
        let holds = |at, now_s| fallbacks.holds(at, now_s * SECOND);
        assert!(holds(at, 159) && !holds(at, 160));
        assert!(!holds(port, 159) && !holds(namespace, 159));
        assert_eq!(of(160), [], "accept is tried again");
        for other in [port, namespace] {
            assert_eq!(fall_back(&fallbacks, other, 161), 60);
        }
        assert_eq!(fall_back(&fallbacks, at, 162), 120);
        assert_eq!(of(163).len(), 3);
    }

    /// The kernel programs do not ask whose port it was.
    #[test]
    fn a_port_takes_its_fallback_along_to_another_listener() {
        let (fallbacks, at) = (Fallbacks::default(), PlacedPort::new(1, 443));
        fall_back(&fallbacks, at, 100);
        for (name, ports, hand_off, expected) in [
            ("web", "[443]", "auto", &[at][..]),
            ("shop", "[80, 443]", "auto", &[at]),
            ("web", "[80]", "auto", &[]),
            ("shop", "[443]", "accept", &[]),
        ] {
            let degraded = fallbacks.of(&listener(name, ports, hand_off), 159 * SECOND);
            let ports_now: Vec<_> = degraded.iter().map(|one| one.at).collect();
            assert_eq!(ports_now, expected, "{name} {ports} {hand_off}");
        }
        assert!(fallbacks.holds(at, 159 * SECOND), "no listener makes it fall back anew");
    }

    #[test]
    fn each_end_is_told_once() {
        let (fallbacks, at) = (Fallbacks::default(), PlacedPort::new(1, 443));
        fall_back(&fallbacks, at, 100);
        let ended = |before_s, now_s| fallbacks.ended(before_s * SECOND, now_s * SECOND);
        assert_eq!(ended(150, 159), []);
        assert_eq!(ended(159, 160), [at]);
        assert_eq!(ended(160, 161), []);
    }
}
