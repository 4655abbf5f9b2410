//! Tells numbers that grow from numbers that come and go.

/// How many looks in a row a gap must last. A look comes once a second: a handed-over connection is
/// established within microseconds. It is in the gap this often only if it was refused.
pub(super) const LOOKS: usize = 3;

/// The last looks at a number that should not grow.
pub(super) struct Looks {
    /// The oldest first.
    last: [u64; LOOKS],
    /// What is known already.
    said: u64,
}

impl Looks {
    /// A number that is known.
    pub(super) const fn new(now: u64) -> Self {
        Self { last: [now; LOOKS], said: now }
    }

    /// By how much the number is larger than what is known, if it has been for all of the looks.
    pub(super) fn see(&mut self, now: u64) -> Option<u64> {
        self.last.rotate_left(1);
        self.last[LOOKS - 1] = now;
        let lasting = self.last.into_iter().min().unwrap_or(now);
        let more = lasting.checked_sub(self.said).filter(|more| *more > 0);
        self.said = lasting;
        more
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
}
