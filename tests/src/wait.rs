//! Waiting for something that happens soon, with a deadline instead of a fixed pause.

use std::time::{Duration, Instant};

/// Generous, because a test machine may be busy; nothing waits this long unless it fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// The first value that `probe` finds within 20 seconds.
///
/// # Panics
/// When there is none; the message names `what`.
pub fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    until(DEADLINE, probe).unwrap_or_else(|| panic!("waited {DEADLINE:?} in vain for {what}"))
}

/// The first value that `probe` finds before `limit` has passed.
pub fn until<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
