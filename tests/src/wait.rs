//! Waiting for something that happens soon, with a deadline instead of a fixed pause.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// How many seconds [`eventually`] waits, if not the usual 20. An emulated machine on a busy host needs longer to start
/// a program.
const PATIENCE: &str = "PROXYIP_TEST_PATIENCE";

/// Generous, because a test machine may be busy; nothing waits this long unless it fails.
static DEADLINE: LazyLock<Duration> = LazyLock::new(|| {
    let seconds = std::env::var(PATIENCE)
        .map(|text| text.parse().unwrap_or_else(|error| panic!("{PATIENCE}={text}: {error}")));
    Duration::from_secs(seconds.unwrap_or(20))
});

/// The first value that `probe` finds within 20 seconds, or as many as the environment says.
///
/// # Panics
/// When there is none; the message names `what`.
pub fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    let deadline = *DEADLINE;
    until(deadline, probe).unwrap_or_else(|| panic!("waited {deadline:?} in vain for {what}"))
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
