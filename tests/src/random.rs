//! Numbers that a seed decides, so that a run can be repeated.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `SplitMix64` (Steele, Lea and Flood, 2014).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below this one.
    ///
    /// # Panics
    /// When `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("a usize has 64 bits at most");
        usize::try_from(self.next() % end).expect("less than a usize")
    }

    /// One of them.
    ///
    /// # Panics
    /// When there is none.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Whether something happens that does so once in this many times.
    ///
    /// # Panics
    /// When `times` is 0.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// At least so much time, and up to `range` more.
    ///
    /// # Panics
    /// When the range is longer than a `usize` of milliseconds.
    pub fn time(&mut self, least: Duration, range: Duration) -> Duration {
        let range = usize::try_from(range.as_millis()).expect("some seconds");
        let more = u64::try_from(self.below(range + 1)).expect("some seconds");
        least + Duration::from_millis(more)
    }
}

/// A seed that the time decides, for a run that repeats no other.
///
/// # Panics
/// When the clock is before 1970.
#[must_use]
pub fn seed_of_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a date after 1970");
    u64::from(now.subsec_nanos()) ^ now.as_secs()
}
