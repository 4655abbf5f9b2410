//! The order in which contenders are measured.

use std::time::Duration;

use crate::report;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// For each contender in a round.
    pub(crate) duration: Duration,
}

/// The longest that a contender is warmed up.
const WARM_UP: Duration = Duration::from_millis(500);

/// All contenders, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// 0 is the one that does not count: caches, tables and processors are cold.
    number: usize,
    duration: Duration,
}

impl Effort {
    /// One that does not count, and those that do.
    pub(crate) fn rounds(self) -> impl Iterator<Item = Round> {
        (0..=self.rounds).map(move |number| Round { number, duration: self.duration })
    }
}

impl Round {
    /// Each round begins with the next contender, so that none always follows the same work of the host. The first one
    /// that counts has the order of the tables.
    pub(crate) fn order<T>(self, contenders: &[T]) -> impl Iterator<Item = &T> {
        let first = self.number.saturating_sub(1) % contenders.len();
        contenders[first..].iter().chain(&contenders[..first])
    }

    pub(crate) const fn counts(self) -> bool {
        self.number > 0
    }

    /// For each contender.
    pub(crate) fn duration(self) -> Duration {
        if self.counts() { self.duration } else { self.duration.min(WARM_UP) }
    }

    /// Prints what a contender of a group did, if the round counts.
    pub(crate) fn report(self, (group, contender): (&str, &str), value: f64, errors: u64) {
        if self.counts() {
            report::sample(group, contender, value, errors);
        }
    }
}
