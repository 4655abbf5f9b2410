//! Per-CPU counters.

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

/// By listener and [`per_listener`].
#[btf_map]
pub static LISTENER_COUNTERS: PerCpuArray<u64, { (MAX_LISTENERS * per_listener::COUNT) as usize }> =
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
    add(map, index, 1);
}

#[inline(always)]
fn add<const N: usize>(map: &PerCpuArray<u64, N>, index: u32, number: u64) {
    if let Some(value) = map.get_ptr_mut(index) {
        // SAFETY: the slot is this CPU's own; a lost update between softirq and process context costs one
        // count, never memory.
        unsafe { *value += number };
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

/// Counts for a listener; `counter` is one of [`per_listener`].
#[inline(always)]
pub fn count_listener(listener: u16, counter: u32) {
    increment(&LISTENER_COUNTERS, u32::from(listener) * per_listener::COUNT + counter);
}

/// Counts an established connection. Call it where the event is sent.
#[inline(always)]
pub fn count_established(record: &FlowRecord) {
    count(Counter::Established);
    count_outcome(record, Verdict::on_flow(record));
}

/// Counts a refused connection if the refusal ends it. Call it where the refusal is reported. The record holds what
/// was known about the connection.
#[inline(always)]
pub fn count_refused(record: &FlowRecord, reason: DropReason) {
    if is_final(reason) {
        count_outcome(record, Verdict::on_refusal(reason));
    }
}

#[inline(always)]
fn count_outcome(record: &FlowRecord, verdict: Verdict) {
    let counter = per_listener::outcome(record.hand_off, record.version, verdict);
    count_listener(record.listener, counter);
}

/// Counts a header that took so long.
#[inline(always)]
pub fn count_latency(listener: u16, time_ns: u64) {
    count_listener(listener, per_listener::LATENCY + latency::bucket(time_ns));
    let sum = u32::from(listener) * per_listener::COUNT + per_listener::LATENCY_SUM;
    add(&LISTENER_COUNTERS, sum, time_ns);
}
