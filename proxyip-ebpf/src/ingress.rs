//! The ingress program: one verdict for each segment, and what it means for the frame.

use proxyip_common::{
    counter::{Counter, DropReason, Reason, per_listener},
    event::EventKind,
};

use crate::{
    count::{count, count_drop, count_left, count_listener, count_refused},
    event, handover,
    judge::{self, Refusal, Verdict},
    kernel::{
        bindings::tcx_action_base::{TCX_DROP, TCX_NEXT},
        debug,
        helpers::{bpf_clone_redirect, bpf_redirect},
        programs::TcContext,
        trace,
    },
    maps::{self, Scratch},
    packet::{self, Segment},
    parse::{self, Frame},
    platform::Platform,
    reply::Reply,
    translate,
};

/// Receives one frame.
#[inline(always)]
pub fn run<P: Platform>(ctx: &TcContext) -> i32 {
    let (Some(segment), Some(scratch)) = (maps::incoming(), maps::scratch()) else {
        return TCX_DROP;
    };
    match parse::incoming(ctx, segment) {
        Frame::Segment => {}
        Frame::Other => return TCX_NEXT,
        Frame::Hidden => {
            count_drop(DropReason::Hidden);
            return TCX_DROP;
        }
    }
    let mut verdict = judge::judge::<P>(ctx, segment, scratch);
    if let Verdict::Introduce = verdict {
        verdict = handover::introduce(ctx, segment, scratch);
    }
    log(ctx, segment, &verdict);
    carry_out(ctx, segment, scratch, verdict)
}

/// Does what the verdict says.
#[inline(always)]
fn carry_out(
    ctx: &TcContext,
    segment: &mut Segment,
    scratch: &mut Scratch,
    verdict: Verdict,
) -> i32 {
    match verdict {
        Verdict::Pass | Verdict::First | Verdict::Part | Verdict::Introduce => TCX_NEXT,
        Verdict::Translate(shift) => {
            if translate::lower(ctx, segment, shift) {
                return TCX_NEXT;
            }
            count_drop(DropReason::TranslateFailed);
            TCX_DROP
        }
        Verdict::PassCounted(counter) => {
            count(counter);
            if counter == Counter::Bypassed {
                judge::forget(segment, scratch);
            }
            TCX_NEXT
        }
        Verdict::LeaveToKernel(reason) => {
            count_left(reason);
            if reason != Reason::LivingSocket {
                judge::forget(segment, scratch);
                event::send_scratch(scratch, EventKind::LeftToKernel, reason as u8);
            }
            TCX_NEXT
        }
        Verdict::Requeue => handover::requeue(ctx),
        Verdict::Hold(counter) => {
            count(counter);
            TCX_DROP
        }
        Verdict::Answer(counter, reply) => {
            count(counter);
            answer(ctx, segment, scratch, &reply)
        }
        Verdict::Reset(counter) => {
            count(counter);
            reset(ctx, segment, scratch)
        }
        Verdict::Refuse(reason, refusal) => {
            report(segment, scratch, reason);
            refuse(ctx, segment, scratch, refusal)
        }
    }
}

/// Counts a refusal and tells of it.
#[inline(never)]
fn report(segment: &Segment, scratch: &mut Scratch, reason: DropReason) {
    count_drop(reason);
    match reason {
        // The record says who it is.
        DropReason::DeniedReset | DropReason::DeniedDropped => {
            count_listener(segment.listener, per_listener::DENIED);
        }
        _ => {
            judge::identify(segment, scratch);
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
    event::send_scratch(scratch, EventKind::Refused, reason as u8);
    scratch.event.bytes_received = 0;
    scratch.event.packets_received = 0;
}

#[inline(always)]
fn refuse(ctx: &TcContext, segment: &mut Segment, scratch: &mut Scratch, refusal: Refusal) -> i32 {
    match refusal {
        Refusal::Drop => TCX_DROP,
        Refusal::Reset => reset(ctx, segment, scratch),
        Refusal::ResetBoth => reset_both(ctx, segment, scratch),
    }
}

/// Sends a RST to the peer, and passes one on in its name.
#[inline(never)]
fn reset_both(ctx: &TcContext, segment: &mut Segment, scratch: &mut Scratch) -> i32 {
    let skb = packet::raw(ctx);
    let written = Reply::reset(segment).write(ctx, segment, &mut scratch.frame).is_ok();
    // SAFETY: the interface exists: the frame came from it.
    if !written || unsafe { bpf_clone_redirect(skb, (*skb).ifindex, 0) } != 0 {
        count_drop(DropReason::ReplyFailed);
        return TCX_DROP;
    }
    let reset = Reply::bare(scratch.expected, 0, packet::flags::RST);
    segment.turn_round();
    if reset.write(ctx, segment, &mut scratch.frame).is_err() {
        count_drop(DropReason::ReplyFailed);
        return TCX_DROP;
    }
    TCX_NEXT
}

/// Tells of one verdict, if the agent has asked for messages; the numbers are those of the enumerations in
/// `proxyip_common::counter`.
#[inline(never)]
fn log(ctx: &TcContext, segment: &Segment, verdict: &Verdict) {
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

/// Sends the answer out of the interface that the segment came from.
#[inline(never)]
fn answer(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch, reply: &Reply) -> i32 {
    if reply.write(ctx, segment, &mut scratch.frame).is_err() {
        count_drop(DropReason::ReplyFailed);
        return TCX_DROP;
    }
    // SAFETY: the interface exists: the frame came from it.
    unsafe { bpf_redirect((*packet::raw(ctx)).ifindex, 0) as i32 }
}

#[inline(always)]
fn reset(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> i32 {
    answer(ctx, segment, scratch, &Reply::reset(segment))
}
