//! What is told of a decision: counters, an event, a message.

use proxyip_common::{
    counter::{DropReason, per_listener},
    event::EventKind,
};

use crate::{
    decision::Verdict,
    frame::segment::Segment,
    kernel::{debug, programs::TcContext, trace},
    memory::Scratch,
    state::{
        counters::{count_drop, count_listener, count_refused},
        events,
        flows::identify,
    },
};

/// Counts a refusal and tells of it.
#[inline(never)]
pub fn report(segment: &Segment, scratch: &mut Scratch, reason: DropReason) {
    count_drop(reason);
    match reason {
        // The record says who it is.
        DropReason::DeniedReset | DropReason::DeniedDropped => {
            count_listener(segment.listener, per_listener::DENIED);
        }
        _ => {
            identify(segment, scratch);
            scratch.event.record.hand_off = scratch.hand_off;
        }
    }
    match reason {
        DropReason::HeaderMissing => count_listener(segment.listener, per_listener::HEADERLESS),
        DropReason::UntrustedReset | DropReason::UntrustedDropped => {
            count_listener(segment.listener, per_listener::UNTRUSTED);
        }
        _ => {}
    }
    count_refused(&scratch.event.record, reason);
    scratch.event.bytes_received = segment.payload as u64;
    scratch.event.packets_received = 1;
    events::send_scratch(scratch, EventKind::Refused, reason as u8);
    scratch.event.bytes_received = 0;
    scratch.event.packets_received = 0;
}

/// Tells of one verdict, if the agent has asked for messages; the numbers are those of the enumerations in
/// `proxyip_common::counter`.
#[inline(never)]
pub fn log(ctx: &TcContext, segment: &Segment, verdict: &Verdict) {
    let (peer, peer_port) = (segment.peer.0.address(), segment.peer.0.port());
    let port = segment.local.0.port();
    match verdict {
        Verdict::Pass
        | Verdict::First
        | Verdict::Part
        | Verdict::Introduce
        | Verdict::Translate(_)
        | Verdict::Requeue => {}
        Verdict::PassCounted(counter)
        | Verdict::Hold(counter)
        | Verdict::Answer(counter, _)
        | Verdict::Reset(counter) => {
            trace!(
                ctx,
                "{:i} port {} to port {}: counted {}", peer, peer_port, port, *counter as u8
            );
        }
        Verdict::LeaveToKernel(reason) => {
            debug!(
                ctx,
                "{:i} port {} to port {}: left to the kernel {}",
                peer,
                peer_port,
                port,
                *reason as u8
            );
        }
        Verdict::Refuse(reason, _) => {
            debug!(
                ctx,
                "{:i} port {} to port {}: refused {}", peer, peer_port, port, *reason as u8
            );
        }
    }
}
