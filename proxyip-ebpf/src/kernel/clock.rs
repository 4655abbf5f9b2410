//! The clock that every time in a table is of.

use crate::kernel::helpers::bpf_ktime_get_ns;

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: takes nothing, returns a number.
    unsafe { bpf_ktime_get_ns() }
}
