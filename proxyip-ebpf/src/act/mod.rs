//! Does what is decided.

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
    act::{answer::write, report::report},
    decision::{Act, Decision, Ending},
    frame::{reply::Reply, segment::Segment, tcp::flags},
    kernel::{
        bindings::tcx_action_base::{TCX_DROP, TCX_NEXT},
        helpers::{bpf_clone_redirect, bpf_redirect},
        packet::raw,
        programs::TcContext,
    },
    state::{
        counters::{count, count_drop, count_left},
        events, flows,
        memory::Memory,
        sockets::Socket,
    },
};

/// What is done to packets that the kernel has as an skb.
pub struct Skb;

impl Act for Skb {
    #[inline(always)]
    fn hand_over(
        ctx: &TcContext,
        segment: &Segment,
        memory: &Memory,
        socket: &Socket,
    ) -> Result<(), Decision> {
        hand_over::build(ctx, segment, memory, socket)
    }

    #[inline(always)]
    fn open(ctx: &TcContext, segment: &Segment, memory: &Memory) -> bool {
        rewrite::blank(ctx, segment, memory) && rewrite::cut_payload(ctx, segment, memory)
    }
}

/// Does what the decision says.
#[inline(always)]
pub fn carry_out(
    ctx: &TcContext,
    segment: &mut Segment,
    memory: &Memory,
    decision: Decision,
) -> i32 {
    match decision {
        Decision::Pass => TCX_NEXT,
        // Steps on the way to a decision, which are never the last.
        Decision::First | Decision::Part | Decision::Introduce => TCX_DROP,
        Decision::Translate(shift) => {
            if shift::lower(ctx, segment, shift) {
                return TCX_NEXT;
            }
            count_drop(DropReason::TranslateFailed);
            TCX_DROP
        }
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
        Decision::Hold(counter) => {
            count(counter);
            TCX_DROP
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
        Decision::RefuseBoth(reason) => {
            report(segment, memory, reason);
            reset_both(ctx, segment, memory)
        }
    }
}

/// Sends a RST to the peer, and passes one on in its name.
#[inline(never)]
fn reset_both(ctx: &TcContext, segment: &mut Segment, memory: &Memory) -> i32 {
    let skb = raw(ctx);
    let written = write(&Reply::reset(segment), ctx, segment, &memory.reply).is_ok();
    // SAFETY: the interface exists: the frame came from it.
    if !written || unsafe { bpf_clone_redirect(skb, (*skb).ifindex, 0) } != 0 {
        count_drop(DropReason::ReplyFailed);
        return TCX_DROP;
    }
    let reset = Reply::bare(memory.expected.get(), 0, flags::RST);
    segment.turn_round();
    if write(&reset, ctx, segment, &memory.reply).is_err() {
        count_drop(DropReason::ReplyFailed);
        return TCX_DROP;
    }
    TCX_NEXT
}

/// Sends the answer out of the interface that the segment came from.
#[inline(never)]
fn answer(ctx: &TcContext, segment: &Segment, memory: &Memory, reply: &Reply) -> i32 {
    if write(reply, ctx, segment, &memory.reply).is_err() {
        count_drop(DropReason::ReplyFailed);
        return TCX_DROP;
    }
    // SAFETY: the interface exists: the frame came from it.
    unsafe { bpf_redirect((*raw(ctx)).ifindex, 0) as i32 }
}

#[inline(always)]
fn reset(ctx: &TcContext, segment: &Segment, memory: &Memory) -> i32 {
    answer(ctx, segment, memory, &Reply::reset(segment))
}
