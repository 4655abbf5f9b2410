//! Steps of a start or a change. The agent may end at each.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, raise};

/// A step is done, and the next one begins. Tests name one in `PROXYIP_FAIL_AT`, from 1 on: the agent kills itself there.
/// The next agent has to make the host right again.
pub(crate) fn step() {
    static WANTED: LazyLock<Option<u32>> =
        LazyLock::new(|| std::env::var("PROXYIP_FAIL_AT").ok()?.parse().ok());
    static REACHED: AtomicU32 = AtomicU32::new(0);
    if *WANTED == Some(REACHED.fetch_add(1, Ordering::Relaxed) + 1) {
        // Nothing can be done if the kernel refuses: the test sees that the agent lives.
        raise(Signal::SIGKILL).ok();
    }
}
