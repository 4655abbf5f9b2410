//! Steps of a start or a change. The agent may end at each.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::sys::signal::{Signal, raise};

/// Counts steps up to the one that a test has named in the environment.
struct Counter {
    wanted: LazyLock<Option<u32>>,
    reached: AtomicU32,
}

/// All steps since the start.
static ALL: Counter =
    Counter { wanted: LazyLock::new(|| number("PROXYIP_FAIL_AT")), reached: AtomicU32::new(0) };

/// Those of reloads.
static OF_RELOADS: Counter = Counter {
    wanted: LazyLock::new(|| number("PROXYIP_FAIL_IN_RELOAD")),
    reached: AtomicU32::new(0),
};

/// Whether a reload goes on.
static RELOADS: AtomicBool = AtomicBool::new(false);

fn number(variable: &str) -> Option<u32> {
    std::env::var(variable).ok()?.parse().ok()
}

impl Counter {
    /// The agent kills itself at the step that a test has named, from 1 on.
    fn count(&self) {
        let wanted = *self.wanted;
        if wanted.is_some() && wanted == Some(self.reached.fetch_add(1, Ordering::Relaxed) + 1) {
            // Nothing can be done if the kernel refuses: the test sees that the agent lives.
            raise(Signal::SIGKILL).ok();
        }
    }
}

/// A step is done, and the next one begins. Tests name one in `PROXYIP_FAIL_AT`, or in `PROXYIP_FAIL_IN_RELOAD` if only
/// those of reloads count. The next agent has to make the host right again.
pub(crate) fn step() {
    ALL.count();
    if RELOADS.load(Ordering::Relaxed) {
        OF_RELOADS.count();
    }
}

/// Does the work of a reload, and counts its steps apart. What looks after the host at the same time may add some.
pub(crate) fn of_reload<T>(work: impl FnOnce() -> T) -> T {
    RELOADS.store(true, Ordering::Relaxed);
    step();
    let result = work();
    step();
    RELOADS.store(false, Ordering::Relaxed);
    result
}
