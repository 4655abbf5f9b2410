//! First segments that reach TCP before the connections that they belong to, and that the load balancer sends again.
//!
//! Something delays what opens a connection: a redirect of incoming packets to another interface (IFB), or a handshake
//! that netfilter answers first (SYNPROXY).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use proxyip_common::counter::{Counter, DropReason};

use crate::tables::maps::CounterMap;

/// How long the agent reports it after it was last seen.
const MEMORY: Duration = Duration::from_mins(15);
/// Fewer may be the work of an accept queue that is full for a moment.
const LEAST: u64 = 5;

/// What was seen lately.
#[derive(Clone, Debug, Default)]
pub struct Early(Arc<Mutex<Option<(Seen, Instant)>>>);

/// What has been counted, or was counted between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    handed_over: u64,
    established: u64,
    /// First segments that found no connection.
    early: u64,
}

impl Early {
    /// The sentence, while it holds.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = last.filter(|(_, at)| at.elapsed() < MEMORY);
        fresh.map(|(seen, _)| seen.sentence())
    }
}

/// Watches the counters.
pub(crate) struct Watch {
    counters: CounterMap,
    before: Seen,
    early: Early,
}

impl Watch {
    pub(crate) fn new(counters: CounterMap, early: Early) -> Result<Self> {
        let before = Seen::read(&counters)?;
        Ok(Self { counters, before, early })
    }

    /// Logs it when it is new.
    pub(crate) fn check(&mut self) -> Result<()> {
        let Some(found) = take(&mut self.before, Seen::read(&self.counters)?) else {
            return Ok(());
        };
        let is_new = self.early.sentence().is_none();
        *self.early.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((found, Instant::now()));
        if is_new {
            tracing::warn!("{}", found.sentence());
        }
        Ok(())
    }
}

impl Seen {
    fn read(counters: &CounterMap) -> Result<Self> {
        let (mut handed_over, mut established, mut early) = (0, 0, 0);
        for (counter, count) in counters.counters()? {
            match counter {
                Counter::HandedOver => handed_over = count,
                Counter::Established => established = count,
                _ => {}
            }
        }
        for (reason, count) in counters.drops()? {
            if reason == DropReason::PayloadWithoutSocket {
                early = count;
            }
        }
        Ok(Self { handed_over, established, early })
    }

    fn sentence(self) -> String {
        let Self { handed_over, early, .. } = self;
        format!(
            "{early} first segments of {handed_over} connections came before their connections, and the load \
             balancer had to send them again, 0.2 s later. Incoming packets are redirected to another interface \
             (IFB) or SYNPROXY answers: docs/firewalls.md says what to do. Under hand_off = \"auto\" the agent \
             translates new connections for a while if accepted ones are late"
        )
    }
}

/// What is found in the difference, once that is enough to judge by. Whoever refuses connections keeps them from being
/// established; here all are.
fn take(before: &mut Seen, now: Seen) -> Option<Seen> {
    let new = Seen {
        handed_over: now.handed_over.saturating_sub(before.handed_over),
        established: now.established.saturating_sub(before.established),
        early: now.early.saturating_sub(before.early),
    };
    if new.handed_over < LEAST {
        return None;
    }
    *before = now;
    let refused = new.handed_over.saturating_sub(new.established);
    (new.early >= LEAST && new.early * 2 >= new.handed_over && refused * 4 <= new.early)
        .then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_early_if_their_connections_are_established_all_the_same() {
        let seen = |handed_over, established, early| Seen { handed_over, established, early };
        for (what, now, found) in [
            ("each is sent again", seen(6, 6, 6), true),
            ("the last one is not established yet", seen(6, 5, 5), true),
            ("most are sent again", seen(100, 100, 60), true),
            ("nothing happened", seen(0, 0, 0), false),
            ("too few to judge by", seen(4, 4, 4), false),
            ("a queue is full for a moment", seen(100, 100, 6), false),
            ("a firewall refuses all", seen(6, 0, 6), false),
            ("a firewall refuses half of the clients", seen(12, 6, 6), false),
        ] {
            let mut before = seen(1000, 900, 100);
            let now = Seen {
                handed_over: before.handed_over + now.handed_over,
                established: before.established + now.established,
                early: before.early + now.early,
            };
            assert_eq!(take(&mut before, now).is_some(), found, "{what}");
        }
    }

    #[test]
    fn few_connections_are_counted_together_with_later_ones() {
        let mut before = Seen::default();
        let four = Seen { handed_over: 4, established: 4, early: 4 };
        assert_eq!(take(&mut before, four), None);
        let five = Seen { handed_over: 5, established: 5, early: 5 };
        assert_eq!(take(&mut before, five), Some(five));
        assert_eq!(take(&mut before, five), None);
    }
}
