//! Does what is decided.

pub mod answer;
pub mod hand_over;
pub mod report;
pub mod rewrite;
pub mod shift;

use proxyip_common::{
    counter::{Counter, DropReason, Reason},
    event::EventKind,
};

use crate::{
    act::{answer::write, report::report},
    decision::{Refusal, Verdict},
    frame::{reply::Reply, segment::Segment, tcp::flags},
    kernel::{
        bindings::tcx_action_base::{TCX_DROP, TCX_NEXT},
        helpers::{bpf_clone_redirect, bpf_redirect},
        packet::raw,
        programs::TcContext,
    },
    memory::Scratch,
    state::{
        counters::{count, count_drop, count_left},
        events, flows,
    },
};

/// Does what the verdict says.
#[inline(always)]
pub fn carry_out(
    ctx: &TcContext,
    segment: &mut Segment,
    scratch: &mut Scratch,
    verdict: Verdict,
) -> i32 {
    match verdict {
        Verdict::Pass | Verdict::First | Verdict::Part | Verdict::Introduce => TCX_NEXT,
        Verdict::Translate(shift) => {
            if shift::lower(ctx, segment, shift) {
                return TCX_NEXT;
            }
            count_drop(DropReason::TranslateFailed);
            TCX_DROP
        }
        Verdict::PassCounted(counter) => {
            count(counter);
            if counter == Counter::Bypassed {
                flows::forget(segment, scratch);
            }
            TCX_NEXT
        }
        Verdict::LeaveToKernel(reason) => {
            count_left(reason);
            if reason != Reason::LivingSocket {
                flows::forget(segment, scratch);
                events::send_scratch(scratch, EventKind::LeftToKernel, reason as u8);
            }
            TCX_NEXT
        }
        Verdict::Requeue => hand_over::requeue(ctx),
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
    let skb = raw(ctx);
    let written = write(&Reply::reset(segment), ctx, segment, &mut scratch.frame).is_ok();
    // SAFETY: the interface exists: the frame came from it.
    if !written || unsafe { bpf_clone_redirect(skb, (*skb).ifindex, 0) } != 0 {
        count_drop(DropReason::ReplyFailed);
        return TCX_DROP;
    }
    let reset = Reply::bare(scratch.expected, 0, flags::RST);
    segment.turn_round();
    if write(&reset, ctx, segment, &mut scratch.frame).is_err() {
        count_drop(DropReason::ReplyFailed);
        return TCX_DROP;
    }
    TCX_NEXT
}

/// Sends the answer out of the interface that the segment came from.
#[inline(never)]
fn answer(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch, reply: &Reply) -> i32 {
    if write(reply, ctx, segment, &mut scratch.frame).is_err() {
        count_drop(DropReason::ReplyFailed);
        return TCX_DROP;
    }
    // SAFETY: the interface exists: the frame came from it.
    unsafe { bpf_redirect((*raw(ctx)).ifindex, 0) as i32 }
}

#[inline(always)]
fn reset(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> i32 {
    answer(ctx, segment, scratch, &Reply::reset(segment))
}
