//! Events for the agent, over the ring buffer.

use proxyip_common::{
    counter::Counter,
    event::{self, Event, EventKind, RING_SIZE},
    flow::{FlowKey, FlowRecord},
    header::MAX_LENGTH,
};

use crate::{
    kernel::{
        bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
        btf_maps::{Array, RingBuf},
        clock::now,
        helpers::{bpf_ringbuf_output, bpf_ringbuf_query},
        macros::btf_map,
    },
    state::{counters::count, memory::Memory},
};

/// What the agent is told.
#[btf_map]
pub static EVENTS: RingBuf<Event, RING_SIZE> = RingBuf::new();

/// Which events of sockets nobody wants, as [`event::muted`].
#[btf_map]
pub static MUTED: Array<u32, 1> = Array::new();

/// Whether somebody wants the event of this kind on a flow.
#[inline(always)]
pub fn is_wanted(kind: EventKind, record: &FlowRecord) -> bool {
    event::is_wanted(kind, record, MUTED.get(0).map_or(0, |muted| *muted))
}

/// Whether to wake the agent, as a flag.
#[inline(always)]
fn wakeup() -> u64 {
    let ring = core::ptr::from_ref(&EVENTS).cast_mut().cast();
    // SAFETY: a ring buffer, and a question that changes nothing.
    let waiting = unsafe { bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA.into()) };
    let flag = if is_alarming(waiting) { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
    flag.into()
}

/// Whether the agent is to be woken when so many bytes wait for it.
///
/// It polls at short intervals, so that a busy node does not pay for a wake-up with every event. It is woken when the ring
/// fills faster than that. The agent may be slow, or stopped: wake-ups end 16 KiB later, because each of them is an
/// interrupt, which takes a fifth of the time of a connection.
#[inline(always)]
const fn is_alarming(waiting: u64) -> bool {
    const ENOUGH: u64 = RING_SIZE as u64 / 4;
    ENOUGH < waiting && waiting <= ENOUGH + (16 << 10)
}

/// What a connection has carried: bytes and packets, those received before those sent.
#[derive(Clone, Copy, Default)]
pub struct Traffic {
    pub bytes: [u64; 2],
    pub packets: [u32; 2],
}

/// Sends one event of a socket; counts it as lost if the ring buffer is full.
#[inline(always)]
pub fn send(kind: EventKind, key: &FlowKey, record: &FlowRecord, traffic: Traffic) {
    let Some(mut entry) = EVENTS.reserve_untyped::<Event>(0) else {
        count(Counter::EventLost);
        return;
    };
    let [bytes_received, bytes_sent] = traffic.bytes;
    let [packets_received, packets_sent] = traffic.packets;
    // It is established at this moment.
    let time_ns =
        if kind as u8 == EventKind::Established as u8 { record.established_ns } else { now() };
    entry.write(Event {
        time_ns,
        bytes_received,
        bytes_sent,
        packets_received,
        packets_sent,
        key: *key,
        record: *record,
        kind: kind as u8,
        reason: 0,
        header_length: 0,
        reserved: [0; 4],
    });
    entry.submit(wakeup());
}

/// Sends the event. Its key and record are in `memory`; the caller sets its bytes and packets. With
/// [`EventKind::Header`], it sends the header's bytes too.
#[inline(always)]
pub fn send_from(memory: &Memory, kind: EventKind, reason: u8) {
    let length = match kind {
        EventKind::Header => memory.record().length_of_header().min(MAX_LENGTH as u32) as u16,
        _ => 0,
    };
    if usize::from(length) > MAX_LENGTH {
        return;
    }
    // SAFETY: nobody else has a reference to the event.
    let event = unsafe { memory.header.event.get_mut() };
    event.time_ns = now();
    event.kind = kind as u8;
    event.reason = reason;
    event.header_length = length;
    // SAFETY: event and header lie one behind the other, and `length` is within the latter.
    let sent = unsafe {
        bpf_ringbuf_output(
            core::ptr::from_ref(&EVENTS).cast_mut().cast(),
            (&raw const memory.header).cast_mut().cast(),
            (size_of::<Event>() + usize::from(length)) as u64,
            wakeup(),
        )
    };
    if sent != 0 {
        count(Counter::EventLost);
    }
}

/// Sets what was received, for the event that is sent next.
#[inline(always)]
pub fn set_received(memory: &Memory, bytes: u64, packets: u32) {
    // SAFETY: nobody else has a reference to the event.
    let event = unsafe { memory.header.event.get_mut() };
    event.bytes_received = bytes;
    event.packets_received = packets;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_woken_when_the_ring_begins_to_fill_and_not_for_each_event_behind() {
        let event = size_of::<Event>() + 8;
        let alarms = (0..RING_SIZE).step_by(event).filter(|waiting| is_alarming(*waiting as u64));
        let alarms: Vec<_> = alarms.collect();
        assert!(alarms[0].abs_diff(RING_SIZE / 4) <= event, "{}", alarms[0]);
        assert!((50..150).contains(&alarms.len()), "{}", alarms.len());
    }
}
