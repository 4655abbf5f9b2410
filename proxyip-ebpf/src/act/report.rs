//! How a decision is reported: counters, an event, a message.

use proxyip_common::{
    counter::{DropReason, per_listener},
    event::EventKind,
};

use crate::{
    decision::Decision,
    frame::segment::Segment,
    kernel::{EbpfContext, debug, has_messages, trace},
    state::{
        counters::{ListenerCounters, count_drop},
        events,
        flows::set_flow,
        memory::Memory,
    },
};

/// Counts the refusal and reports it to the agent.
#[inline(never)]
pub fn report(segment: &Segment, memory: &Memory, reason: DropReason) {
    count_drop(reason);
    match reason {
        // The record says who it is.
        DropReason::DeniedReset | DropReason::DeniedDropped => {}
        _ => {
            set_flow(segment, memory);
            let hand_off = memory.handshake.get().hand_off;
            memory.change_record(|record| record.hand_off = hand_off);
        }
    }
    if let Some(counters) = ListenerCounters::of(segment.listener) {
        match reason {
            DropReason::DeniedReset | DropReason::DeniedDropped => {
                counters.count(per_listener::DENIED);
            }
            DropReason::HeaderMissing => counters.count(per_listener::HEADERLESS),
            DropReason::UntrustedReset | DropReason::UntrustedDropped => {
                counters.count(per_listener::UNTRUSTED);
            }
            _ => {}
        }
        counters.count_refused(memory.record(), reason);
    }
    events::set_received(memory, segment.payload as u64, 1);
    events::send_from(memory, EventKind::Refused, reason as u8);
    events::set_received(memory, 0, 0);
}

/// Logs one decision if the agent has asked for messages.
#[inline(always)]
pub fn log(ctx: &impl EbpfContext, segment: &Segment, decision: &Decision) {
    if has_messages() {
        write_message(ctx, segment, decision);
    }
}

/// The numbers are those of the enumerations in `proxyip_common::counter`.
#[inline(never)]
fn write_message(ctx: &impl EbpfContext, segment: &Segment, decision: &Decision) {
    let (peer, peer_port) = (segment.peer.0.address(), segment.peer.0.port());
    let port = segment.local.0.port();
    match decision {
        Decision::Pass | Decision::Introduce(_) | Decision::Translate(_) | Decision::Requeue => {}
        Decision::PassCounted(counter)
        | Decision::Hold(counter)
        | Decision::Acknowledge(counter, _)
        | Decision::Answer(counter, _)
        | Decision::Reset(counter) => {
            trace!(
                ctx,
                "{:i} port {} to port {}: counted {}", peer, peer_port, port, *counter as u8
            );
        }
        Decision::LeaveToKernel(reason) => {
            debug!(
                ctx,
                "{:i} port {} to port {}: left to the kernel {}",
                peer,
                peer_port,
                port,
                *reason as u8
            );
        }
        Decision::Refuse(reason) | Decision::RefuseBoth(reason, _) => {
            debug!(
                ctx,
                "{:i} port {} to port {}: refused {}", peer, peer_port, port, *reason as u8
            );
        }
    }
}
