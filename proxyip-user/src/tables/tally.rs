//! How many entries a table has, which takes a while to find out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::time::{ClockId, clock_gettime};

/// If a count takes less than this, each caller counts again.
const LONG: Duration = Duration::from_millis(20);
/// A count stays valid for this many times its duration. So counting takes a tenth of a processor at most, even with
/// many callers.
const WORTH: u32 = 10;

/// The last count of a large table. A caller that comes during a count waits for its number.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<Option<Counted>>>);

#[derive(Debug)]
struct Counted {
    number: u64,
    at: Instant,
    /// Of a processor's time.
    took: Duration,
}

impl Tally {
    /// What `count` finds, or has found not long ago.
    ///
    /// # Errors
    /// Those of `count`.
    pub fn get(&self, count: impl FnOnce() -> Result<u64>) -> Result<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counted) = &*last
            && is_good(counted.took, counted.at.elapsed())
        {
            return Ok(counted.number);
        }
        let begin = processor_time();
        let number = count()?;
        let took = processor_time().saturating_sub(begin);
        *last = Some(Counted { number, at: Instant::now(), took });
        Ok(number)
    }
}

/// Whether a number that took this long to count is still good at this age.
fn is_good(took: Duration, age: Duration) -> bool {
    took >= LONG && age < took * WORTH
}

/// That this thread has had, in the kernel too: what others do meanwhile does not make a table large.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_long_is_good_for_a_while() {
        let ms = Duration::from_millis;
        for (took, age, good) in
            [(19, 0, false), (20, 199, true), (20, 200, false), (350, 3499, true), (0, 0, false)]
        {
            assert_eq!(is_good(ms(took), ms(age)), good, "{took} {age}");
        }
    }

    #[test]
    fn others_are_counted_anew() {
        let tally = Tally::default();
        assert!(tally.get(|| anyhow::bail!("unreadable")).is_err());
        for number in 0..3 {
            assert_eq!(tally.get(|| Ok(number)).unwrap(), number);
        }
        let long = || {
            let begin = processor_time();
            while processor_time() < begin + LONG * 50 {}
            Ok(3)
        };
        assert_eq!(tally.get(long).unwrap(), 3);
        // It is good for ten seconds.
        assert_eq!(tally.get(|| Ok(4)).unwrap(), 3);
    }
}
