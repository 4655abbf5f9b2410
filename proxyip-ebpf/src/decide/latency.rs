//! How long a header takes, from the handshake on.

use proxyip_common::latency::since_echo;

use crate::{
    kernel::clock::now,
    state::{
        counters::ListenerCounters,
        handshakes::{ACCEPT, HANDSHAKES},
        memory::Memory,
        namespace::{clock, settings},
    },
};

/// Looks up when the handshake of the flow in `memory.event` began, before it is forgotten. Of one that was answered with
/// a cookie nothing is known.
#[inline(always)]
pub fn recall(memory: &Memory) {
    memory.since_ns.set(0);
    let expected = memory.handshake.get();
    if expected.hand_off == ACCEPT {
        return;
    }
    if let Some(handshake) = HANDSHAKES.get_ptr(memory.key()) {
        // SAFETY: an element of the map; at worst it is another handshake's by now, whose numbers do not fit.
        let (isn, since_ns) = unsafe { ((*handshake).isn, (*handshake).since_ns) };
        if isn == expected.isn.0 {
            memory.since_ns.set(since_ns);
        }
    }
}

/// Counts the header that a segment has completed, once: its connection may be handed over again until TCP takes it.
#[inline(never)]
pub fn count(memory: &Memory, counters: &ListenerCounters) {
    let handshake = memory.handshake.get();
    let time_ns = if handshake.hand_off == ACCEPT {
        if handshake.handed_over_before { None } else { since_syn_ack(memory) }
    } else if memory.since_ns.get() == 0 {
        None
    } else {
        Some(now().wrapping_sub(memory.since_ns.get()))
    };
    if let Some(time_ns) = time_ns {
        counters.count_latency(time_ns);
    }
}

/// By the SYN-ACK's timestamp, which is the latest that the peer has seen: what is acknowledged before the socket exists
/// repeats it. The options of the segment have been read.
#[inline(always)]
fn since_syn_ack(memory: &Memory) -> Option<u64> {
    let settings = settings()?;
    let timestamps = memory.options.received.timestamps.get()?;
    // The life of a cookie.
    since_echo(clock(settings), timestamps.echo, 2 * settings.epoch_ns)
}
