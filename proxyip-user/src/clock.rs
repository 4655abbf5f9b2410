//! The clock that the kernel programs go by.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn now_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("the clock cannot be read")?;
    let nanoseconds = now.tv_sec() * 1_000_000_000 + now.tv_nsec();
    u64::try_from(nanoseconds).context("the clock is negative")
}

/// As the kernel programs count; the longest if there are too many.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
