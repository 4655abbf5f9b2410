//! Per-CPU counters.

use core::{cell::Cell, hint::black_box};

use proxyip_common::{
    counter::{Counter, DropReason, Obstacle, per_listener},
    flow::FlowRecord,
    latency,
    settings::MAX_LISTENERS,
    verdict::{Verdict, is_final},
};

use crate::kernel::{
    btf_maps::{Array, PerCpuArray},
    macros::btf_map,
};

/// By [`Counter`].
#[btf_map]
pub static COUNTERS: PerCpuArray<u64, { Counter::COUNT as usize }> = PerCpuArray::new();

/// By [`DropReason`].
#[btf_map]
pub static DROPS: PerCpuArray<u64, { DropReason::COUNT as usize }> = PerCpuArray::new();

/// The same, of connections that the agent has refused; written by it alone.
#[btf_map]
pub static DROPS_BY_AGENT: Array<u64, { DropReason::COUNT as usize }> = Array::new();

/// By [`Obstacle`].
#[btf_map]
pub static LEFT_TO_KERNEL: PerCpuArray<u64, { Obstacle::COUNT as usize }> = PerCpuArray::new();

/// By listener.
#[btf_map]
pub static LISTENER_COUNTERS: PerCpuArray<per_listener::Counters, { MAX_LISTENERS as usize }> =
    PerCpuArray::new();

/// Connections that the agent has refused, because their headers were late: by listener and hand-off; written by it
/// alone.
#[btf_map]
pub static REFUSED_BY_AGENT: Array<
    u64,
    { (MAX_LISTENERS * per_listener::HAND_OFFS as u32) as usize },
> = Array::new();

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
pub fn count_left(reason: Obstacle) {
    increment(&LEFT_TO_KERNEL, reason as u32);
}

/// One listener's counters of this CPU.
#[repr(transparent)]
pub struct ListenerCounters([Cell<u64>; per_listener::COUNT as usize]);

impl ListenerCounters {
    /// Those of this listener, for all that is counted of a segment.
    #[inline(always)]
    pub fn of(listener: u16) -> Option<&'static Self> {
        let counters = LISTENER_COUNTERS.get_ptr_mut(listener.into())?;
        // SAFETY: an element of the map, of as many words as there are cells. It is this CPU's own; a lost update between
        // softirq and process context costs one count.
        Some(unsafe { &*counters.cast::<Self>() })
    }

    /// Counts; `counter` is one of [`per_listener`].
    #[inline(always)]
    pub fn count(&self, counter: u32) {
        self.add(counter, 1);
    }

    #[inline(always)]
    fn add(&self, counter: u32, number: u64) {
        if let Some(cell) = self.0.get(counter as usize) {
            cell.set(cell.get() + number);
        }
    }

    /// Counts what is known by its number only. The number is opaque, so that the verifier sees the very number that is
    /// compared, and not one that the compiler derives from it.
    #[inline(always)]
    pub fn count_computed(&self, counter: u32) {
        self.count(black_box(counter));
    }

    /// Counts a refused connection if the refusal ends it. Call it where the refusal is reported. The record holds what
    /// was known about the connection.
    #[inline(always)]
    pub fn count_refused(&self, record: &FlowRecord, reason: DropReason) {
        if is_final(reason) {
            self.count_outcome(record, Verdict::on_refusal(reason));
        }
    }

    #[inline(always)]
    fn count_outcome(&self, record: &FlowRecord, verdict: Verdict) {
        self.count_computed(per_listener::outcome(record.hand_off, record.version, verdict));
    }

    /// Counts a header that took so long.
    #[inline(always)]
    pub fn count_latency(&self, time_ns: u64) {
        self.count_computed(per_listener::LATENCY + latency::bucket(time_ns));
        self.add(per_listener::LATENCY_SUM, time_ns);
    }
}

/// Counts one thing for a listener; `counter` is one of [`per_listener`].
#[inline(always)]
pub fn count_listener(listener: u16, counter: u32) {
    if let Some(counters) = ListenerCounters::of(listener) {
        counters.count(counter);
    }
}

/// Counts an established connection, also among its listener's. Call it where the event is sent.
#[inline(always)]
pub fn count_established(record: &FlowRecord, counters: Option<&ListenerCounters>) {
    count(Counter::Established);
    if let Some(counters) = counters {
        counters.count_outcome(record, Verdict::on_flow(record));
    }
}
