//! Whether an accept queue has overflowed a moment ago.

use std::collections::HashMap;

use super::looks::LOOKS;
use crate::host::served::Member;

/// What the namespaces that are served have counted.
#[derive(Debug)]
pub(super) struct Overflows {
    /// The last count of each namespace, by its cookie.
    last: HashMap<u64, u64>,
    /// How often a queue has overflowed since the first look. A namespace that is left takes nothing away.
    sum: u64,
    /// The sums of the last looks, the oldest first. There is one look more than a gap must last, because an overflow may
    /// be seen a second earlier or later.
    sums: [u64; LOOKS + 1],
}

impl Overflows {
    pub(super) fn new(served: &[Member]) -> Self {
        let last = served.iter().map(count).collect();
        Self { last, sum: 0, sums: [0; _] }
    }

    /// Begins anew: what was counted until now may be long ago.
    pub(super) fn forget(&mut self, served: &[Member]) {
        self.last = served.iter().map(count).collect();
    }

    /// Whether one has overflowed within the last looks. Call it once a second.
    pub(super) fn look(&mut self, served: &[Member]) -> bool {
        let now: HashMap<_, _> = served.iter().map(count).collect();
        // What a namespace counted before it was served says nothing about now.
        let more = now.iter().filter_map(|(cookie, now)| {
            let before = self.last.get(cookie)?;
            Some(now.saturating_sub(*before))
        });
        self.sum += more.sum::<u64>();
        self.last = now;
        let overflowed = self.sum > self.sums[0];
        self.sums.rotate_left(1);
        self.sums[LOOKS] = self.sum;
        overflowed
    }
}

fn count(Member { seen, .. }: &Member) -> (u64, u64) {
    (seen.cookie(), seen.overflows())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Netns;
    use crate::host::seen::Seen;
    use crate::host::served::Served;

    #[test]
    fn namespaces_that_come_or_go_neither_make_nor_hide_an_overflow() {
        let namespaces: Vec<_> = [1, 2].map(|cookie| Arc::new(Seen::new(cookie, 0))).into();
        let list = |which: &[usize]| {
            let members = which.iter().map(|one| (Netns::Host, Arc::clone(&namespaces[*one])));
            members.collect::<Served>().now()
        };
        let (first, both) = (list(&[0]), list(&[0, 1]));
        namespaces[1].set_overflows(100);
        let mut overflows = Overflows::new(&first);
        assert!(!overflows.look(&both));

        namespaces[0].set_overflows(1);
        for _ in 0..=LOOKS {
            assert!(overflows.look(&first));
        }
        assert!(!overflows.look(&first));
    }
}
