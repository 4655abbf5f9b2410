//! The gap between connections handed over and connections established, by listener: what the stack refused.

use std::sync::Arc;

use anyhow::Result;

use crate::config::{HandOffChoice, Listener};
use crate::desired::active::Active;
use crate::host::seen::Seen;
use crate::tables::listeners::ListenerMap;

/// How many looks in a row a gap must last. Call [`Gap::check`] once a second: a handed-over connection is
/// established within microseconds. It is in the gap this often only if it was refused.
const LOOKS: usize = 3;

/// After a warning about a listener, the agent says nothing more about its growing gap for this many looks.
const QUIET: u32 = 10;

/// For how many looks an overflow of accept queues, which may be another listener's, excuses that nothing is
/// established.
const EXCUSED: usize = 10;

/// Watches the gaps.
pub(crate) struct Gap {
    map: ListenerMap,
    listeners: Vec<Watched>,
    namespaces: Vec<Arc<Seen>>,
    /// Overflows of accept queues at the last looks, the oldest first. There is one look more than a gap must last,
    /// because an overflow may be seen a second earlier or later.
    overflows: [u64; LOOKS + 1],
}

/// One listener.
struct Watched {
    place: u16,
    name: String,
    hand_off: HandOffChoice,
    looks: Looks,
    /// Connections established at the last look, and how many looks have shown the same number.
    established: u64,
    fruitless: usize,
    /// By how much the gap has grown since that was said.
    unsaid: u64,
    /// Looks before it may be said.
    quiet: u32,
    /// New connections are translated now. Connections of the gap will never be established.
    translated: bool,
}

impl Gap {
    pub(crate) fn new(
        active: &Active,
        map: ListenerMap,
        namespaces: Vec<Arc<Seen>>,
    ) -> Result<Self> {
        let overflows = [overflows(&namespaces); _];
        let mut gap = Self { map, listeners: Vec::new(), namespaces, overflows };
        gap.follow(active)?;
        Ok(gap)
    }

    /// Watches the listeners that are in force now.
    pub(crate) fn follow(&mut self, active: &Active) -> Result<()> {
        let mut before = std::mem::take(&mut self.listeners);
        for (place, listener) in active.listeners() {
            let same =
                |one: &Watched| one.name == listener.name && one.hand_off == listener.hand_off;
            let watched = match before.iter().position(same) {
                Some(index) => before.swap_remove(index),
                None => Watched::new(place, listener, &self.map)?,
            };
            self.listeners.push(watched);
        }
        Ok(())
    }

    /// Logs connections that were handed over and have still not been established. Where translating helps,
    /// `translate` gets the listener's name. If it answers false, the next connection of this kind asks again.
    pub(crate) fn check(&mut self, translate: impl Fn(&str) -> Result<bool>) -> Result<()> {
        let now = overflows(&self.namespaces);
        let overflowed = now > self.overflows[0];
        self.overflows.rotate_left(1);
        self.overflows[LOOKS] = now;
        for listener in &mut self.listeners {
            let index = listener.place;
            listener.quiet = listener.quiet.saturating_sub(1);
            listener.see_established(self.map.established(index)?);
            let more = listener.looks.see(self.map.gap(index)?);
            let Some(more) = more.filter(|_| !listener.translated) else { continue };
            listener.unsaid += more;
            let cause = cause(listener.hand_off, overflowed, listener.fruitless);
            if cause == Cause::Refusal {
                if !translate(&listener.name)? {
                    continue;
                }
                listener.translated = true;
                listener.quiet = 0;
            }
            listener.say(cause);
        }
        Ok(())
    }
}

impl Watched {
    fn new(place: u16, listener: &Listener, map: &ListenerMap) -> Result<Self> {
        Ok(Self {
            place,
            name: listener.name.clone(),
            hand_off: listener.hand_off,
            looks: Looks::new(map.gap(place)?),
            established: map.established(place)?,
            fruitless: 0,
            unsaid: 0,
            quiet: 0,
            translated: false,
        })
    }

    fn see_established(&mut self, established: u64) {
        self.fruitless =
            if established == self.established { self.fruitless.saturating_add(1) } else { 0 };
        self.established = established;
    }

    fn say(&mut self, cause: Cause) {
        let Self { name, unsaid: missing, .. } = &self;
        if self.quiet == 0 {
            let sentence = cause.sentence();
            tracing::warn!(
                missing,
                "listener {name:?}: connections were handed over but not established: {sentence}"
            );
            self.unsaid = 0;
            self.quiet = QUIET;
        }
    }
}

fn overflows(namespaces: &[Arc<Seen>]) -> u64 {
    namespaces.iter().map(|seen| seen.overflows()).sum()
}

/// The last looks at a number that should not grow.
struct Looks {
    /// The oldest first.
    last: [u64; LOOKS],
    /// What is known already.
    said: u64,
}

impl Looks {
    const fn new(now: u64) -> Self {
        Self { last: [now; LOOKS], said: now }
    }

    /// By how much the number is larger than what is known, if it has been for all of the looks.
    fn see(&mut self, now: u64) -> Option<u64> {
        self.last.rotate_left(1);
        self.last[LOOKS - 1] = now;
        let lasting = self.last.into_iter().min().unwrap_or(now);
        let more = lasting.checked_sub(self.said).filter(|more| *more > 0);
        self.said = lasting;
        more
    }
}

/// Why the stack refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The application is too slow.
    Overflow,
    /// Others are established.
    Some,
    /// Something else; the listener's new connections are translated from now on.
    Refusal,
    /// Something else, and the listener's `hand_off` leaves no choice.
    RefusalForGood,
}

/// A connection that finds the accept queue full would find it full with any hand-off. A rule refuses all handed-over
/// connections, so for a while none has been established.
const fn cause(hand_off: HandOffChoice, overflowed: bool, fruitless: usize) -> Cause {
    match hand_off {
        _ if overflowed && fruitless < EXCUSED => Cause::Overflow,
        _ if fruitless < LOOKS => Cause::Some,
        HandOffChoice::Auto => Cause::Refusal,
        _ => Cause::RefusalForGood,
    }
}

impl Cause {
    const fn sentence(self) -> &'static str {
        match self {
            Self::Overflow => {
                "the application's accept queue is full (ListenOverflows in `nstat -az`): it accepts too \
                 slowly, or its backlog or net.core.somaxconn is too small"
            }
            Self::Some => {
                "others are; a firewall rule may drop those of some peers, or memory is short"
            }
            Self::Refusal => {
                "a firewall rule probably drops them: look for rules that drop new connections without SYN \
                 or in conntrack state INVALID, or that queue them to user space (NFQUEUE). New connections \
                 are translated until the agent is restarted"
            }
            Self::RefusalForGood => {
                "a firewall rule probably drops them: look for rules that drop new connections without SYN \
                 or in conntrack state INVALID, or that queue them to user space (NFQUEUE); or let hand_off \
                 be \"auto\", which translates instead"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_when_three_looks_have_seen_it() {
        let mut looks = Looks::new(5);
        for (now, more) in [
            (5, None),
            (7, None),
            (8, None),
            // Two were there at each of the last three looks.
            (7, Some(2)),
            (7, None),
            (7, None),
            // Connections in flight come and go.
            (9, None),
            (9, None),
            (7, None),
            (7, None),
        ] {
            assert_eq!(looks.see(now), more, "{now}");
        }
    }

    #[test]
    fn a_gap_that_closed_may_open_again() {
        let mut looks = Looks::new(3);
        for (now, more) in [(1, None), (1, None), (1, None), (3, None), (3, None), (3, Some(2))] {
            assert_eq!(looks.see(now), more, "{now}");
        }
    }

    #[test]
    fn only_auto_translates_and_only_if_that_helps() {
        for (hand_off, overflowed, fruitless, expected) in [
            (HandOffChoice::Auto, false, 3, Cause::Refusal),
            (HandOffChoice::Auto, false, 2, Cause::Some),
            (HandOffChoice::Auto, true, 9, Cause::Overflow),
            (HandOffChoice::Auto, true, 10, Cause::Refusal),
            (HandOffChoice::Accept, false, 3, Cause::RefusalForGood),
            (HandOffChoice::Accept, true, 3, Cause::Overflow),
        ] {
            assert_eq!(cause(hand_off, overflowed, fruitless), expected);
        }
    }
}
