//! When the flow log lacks something.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use super::period::Period;

/// How many lines were lost since the agent was started.
#[derive(Clone, Debug, Default)]
pub struct LostLines(Arc<AtomicU64>);

impl LostLines {
    /// All until now.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, lines: u64) {
        self.0.fetch_add(lines, Ordering::Relaxed);
    }
}

/// From second to second, whether lines or events were lost.
#[derive(Debug)]
pub struct Losses {
    /// Events that were lost in all, at the last tick; `None` before the first.
    events: Option<u64>,
    /// The last tick at which nothing was lost: what was written at later ones may be lost too.
    since: Timestamp,
}

impl Losses {
    /// Nothing was lost until `now`.
    #[must_use]
    pub const fn since(now: Timestamp) -> Self {
        Self { events: None, since: now }
    }

    /// The time in which lines or events were lost; `None` if none were. `events_lost` counts all lost events so far.
    pub fn tick(&mut self, lines_lost: bool, events_lost: u64, now: Timestamp) -> Option<Period> {
        // Those before the first tick are an earlier agent's, or of the time without one.
        let before = self.events.unwrap_or(events_lost);
        self.events = Some(before.max(events_lost));
        if lines_lost || events_lost > before {
            return Some(Period { start: self.since, end: now });
        }
        self.since = now;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_goes_on_until_a_tick_without_one() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let mut losses = Losses::since(second(0));
        let mut tick = |lines_lost, events_lost, now| {
            let period = losses.tick(lines_lost, events_lost, second(now))?;
            Some((period.start.as_second(), period.end.as_second()))
        };
        assert_eq!(tick(false, 7, 1), None);
        assert_eq!(tick(true, 7, 2), Some((1, 2)));
        assert_eq!(tick(false, 8, 3), Some((1, 3)));
        assert_eq!(tick(false, 0, 4), None, "the counter could not be read");
        assert_eq!(tick(false, 8, 5), None);
        assert_eq!(tick(false, 9, 6), Some((5, 6)));
    }
}
