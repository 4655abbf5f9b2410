//! Per-CPU counters.

use proxyip_common::counter::{Counter, DropReason, Reason, per_listener};

use crate::{
    kernel::btf_maps::PerCpuArray,
    maps::{COUNTERS, DROPS, LEFT_TO_KERNEL, LISTENER_COUNTERS},
};

#[inline(always)]
fn increment<const N: usize>(map: &PerCpuArray<u64, N>, index: u32) {
    if let Some(value) = map.get_ptr_mut(index) {
        // SAFETY: the slot is this CPU's own; a lost update between softirq and process context costs one
        // count, never memory.
        unsafe { *value += 1 };
    }
}

/// Counts what happened.
#[inline(always)]
pub fn count(counter: Counter) {
    increment(&COUNTERS, counter as u32);
}

/// Counts a refusal.
#[inline(always)]
pub fn count_drop(reason: DropReason) {
    increment(&DROPS, reason as u32);
}

/// Counts a connection left to the kernel.
#[inline(always)]
pub fn count_left(reason: Reason) {
    increment(&LEFT_TO_KERNEL, reason as u32);
}

/// Counts for a listener; `counter` is one of [`per_listener`].
#[inline(always)]
pub fn count_listener(listener: u16, counter: u32) {
    increment(&LISTENER_COUNTERS, u32::from(listener) * per_listener::COUNT + counter);
}
