//! Does what is decided.

pub mod acknowledge;
pub mod ahead;
pub mod answer;
pub mod hand_over;
pub mod report;
pub mod rewrite;
pub mod shift;

use proxyip_common::{
    counter::{Counter, DropReason, Obstacle},
    event::EventKind,
};

use crate::{
    act::{
        acknowledge::bare_ack,
        answer::{write, write_in_its_name},
        hand_over::Failure,
        report::{log, report},
    },
    decision::{Acknowledgment, Act, Decision, Ending},
    frame::{
        reply::Reply,
        segment::Segment,
        tcp::{Seq, flags},
    },
    kernel::{
        bindings::tcx_action_base::{TCX_DROP, TCX_NEXT},
        helpers::{bpf_clone_redirect, bpf_redirect_neigh},
        packet::raw,
        programs::TcContext,
    },
    state::{
        counters::{count, count_drop, count_left},
        events, flows,
        memory::Memory,
    },
};

/// What is done to packets that the kernel has as an skb.
pub struct Skb;

impl Act for Skb {
    type Packet = TcContext;

    #[inline(always)]
    fn hand_over(ctx: &TcContext, segment: &Segment, memory: &Memory) -> Result<(), Decision> {
        hand_over::build(ctx, segment, memory)
    }

    #[inline(always)]
    fn open(ctx: &TcContext, segment: &Segment, memory: &Memory) -> bool {
        rewrite::blank(ctx, segment, memory) && rewrite::cut_payload(ctx, segment, memory)
    }
}

/// Does what the decision says.
#[inline(always)]
pub fn carry_out(ctx: &TcContext, segment: &Segment, memory: &Memory, decision: Decision) -> i32 {
    match decision {
        Decision::Pass => TCX_NEXT,
        Decision::Translate(shift) => lower(ctx, segment, shift),
        Decision::PassCounted(counter) => {
            count(counter);
            if counter == Counter::Bypassed {
                flows::remove_flow(segment, memory);
            }
            TCX_NEXT
        }
        Decision::LeaveToKernel(reason) => {
            count_left(reason);
            if reason != Obstacle::LivingSocket {
                flows::remove_flow(segment, memory);
                events::send_from(memory, EventKind::LeftToKernel, reason as u8);
            }
            TCX_NEXT
        }
        Decision::Requeue => hand_over::requeue(ctx),
        Decision::Introduce(stream) => introduce(ctx, segment, memory, stream),
        Decision::Hold(counter) => {
            count(counter);
            TCX_DROP
        }
        Decision::Acknowledge(counter, acknowledgment) => {
            count(counter);
            acknowledge(ctx, segment, memory, acknowledgment)
        }
        Decision::Answer(counter, reply) => {
            count(counter);
            answer(ctx, segment, memory, &reply)
        }
        Decision::Reset(counter) => {
            count(counter);
            reset(ctx, segment, memory)
        }
        Decision::Refuse(reason) => {
            report(segment, memory, reason);
            match Ending::of(reason) {
                Ending::Silent => TCX_DROP,
                Ending::Reset => reset(ctx, segment, memory),
            }
        }
        Decision::RefuseBoth(reason, expected) => {
            report(segment, memory, reason);
            reset_both(ctx, segment, memory, expected)
        }
    }
}

/// Lowers the sequence number of a segment whose connection is translated.
#[inline(always)]
pub fn lower(ctx: &TcContext, segment: &Segment, shift: u32) -> i32 {
    if shift::lower(ctx, segment, shift) {
        return TCX_NEXT;
    }
    count_drop(DropReason::TranslateFailed);
    TCX_DROP
}

/// Gives the kernel the bare ACK, and queues the segment.
#[inline(never)]
fn introduce(ctx: &TcContext, segment: &Segment, memory: &Memory, stream: Seq) -> i32 {
    match hand_over::introduce(ctx, segment, memory, stream) {
        Ok(()) => TCX_NEXT,
        Err(Failure::Refused(reason)) => {
            log(ctx, segment, &Decision::Refuse(reason));
            report(segment, memory, reason);
            TCX_DROP
        }
        Err(Failure::Held(counter)) => {
            log(ctx, segment, &Decision::Hold(counter));
            count(counter);
            TCX_DROP
        }
    }
}

/// Sends a RST to the peer, and passes one on in its name, to the kernel which expects this sequence number.
#[inline(never)]
fn reset_both(ctx: &TcContext, segment: &Segment, memory: &Memory, expected: Seq) -> i32 {
    let skb = raw(ctx);
    if write(&Reply::reset(segment), ctx, segment, &memory.reply).is_err() {
        count_drop(DropReason::ReplyFailed);
        return TCX_DROP;
    }
    // SAFETY: the interface exists: the frame came from it.
    if unsafe { bpf_clone_redirect(skb, (*skb).ifindex, 0) } != 0 {
        // The peer hears of it when it sends again; what the kernel has of the connection goes now.
        count_drop(DropReason::ReplyFailed);
    }
    let reset = Reply::bare(expected, Seq(0), flags::RST);
    if write_in_its_name(&reset, ctx, segment, &memory.reply).is_err() {
        count_drop(DropReason::ReplyFailed);
        return TCX_DROP;
    }
    TCX_NEXT
}

/// Acknowledges what has come. If that fails the peer sends it again.
#[inline(never)]
fn acknowledge(
    ctx: &TcContext,
    segment: &Segment,
    memory: &Memory,
    acknowledgment: Acknowledgment,
) -> i32 {
    match bare_ack(ctx, segment, memory, acknowledgment) {
        Some(reply) => answer(ctx, segment, memory, &reply),
        None => TCX_DROP,
    }
}

/// Sends the answer out of the interface that the segment came from, to the neighbour that the routing table names. The
/// sender of the frame may be another, who only says that the address is his.
#[inline(never)]
fn answer(ctx: &TcContext, segment: &Segment, memory: &Memory, reply: &Reply) -> i32 {
    if write(reply, ctx, segment, &memory.reply).is_err() {
        count_drop(DropReason::ReplyFailed);
        return TCX_DROP;
    }
    // SAFETY: the interface exists: the frame came from it.
    unsafe { bpf_redirect_neigh((*raw(ctx)).ifindex, core::ptr::null_mut(), 0, 0) as i32 }
}

#[inline(always)]
fn reset(ctx: &TcContext, segment: &Segment, memory: &Memory) -> i32 {
    answer(ctx, segment, memory, &Reply::reset(segment))
}
