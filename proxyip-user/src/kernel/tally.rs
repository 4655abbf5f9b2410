//! How many entries a table has, which takes a while to find out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

/// What takes less is counted anew each time.
const LONG: Duration = Duration::from_millis(20);
/// So many times as long as it took is a number good for: counting takes a tenth of a processor at most, however many ask.
const WORTH: u32 = 10;

/// The last count of a large table. Whoever asks while others count waits for their number.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<Option<Counted>>>);

#[derive(Debug)]
struct Counted {
    number: u64,
    at: Instant,
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
            && counted.took >= LONG
            && counted.at.elapsed() < counted.took * WORTH
        {
            return Ok(counted.number);
        }
        let begin = Instant::now();
        let number = count()?;
        *last = Some(Counted { number, at: Instant::now(), took: begin.elapsed() });
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    #[test]
    fn what_took_long_is_good_for_a_while() {
        let tally = Tally::default();
        for number in 0..3 {
            assert_eq!(tally.get(|| Ok(number)).unwrap(), number);
        }
        let long = |number| {
            sleep(LONG);
            Ok(number)
        };
        assert!(tally.get(|| anyhow::bail!("unreadable")).is_err());
        assert_eq!(tally.get(|| long(3)).unwrap(), 3);
        assert_eq!(tally.get(|| panic!("it has just been counted")).unwrap(), 3);
        sleep(LONG * (WORTH + 5));
        assert_eq!(tally.get(|| Ok(4)).unwrap(), 4);
    }
}
