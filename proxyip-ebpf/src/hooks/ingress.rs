//! The ingress program: one decision for each segment, and what it means for the frame.

use proxyip_common::counter::DropReason;

use crate::{
    act::{Skb, carry_out, lower, report::log},
    decide::{
        decide,
        quick::{Quick, look},
    },
    frame::{
        parse::{self, Parsed},
        segment::{HELD_LISTENER, Segment, fill_incoming, incoming},
    },
    kernel::{
        bindings::tcx_action_base::{TCX_DROP, TCX_NEXT},
        packet::take_queued_mark,
        platform::Platform,
        programs::TcContext,
    },
    state::{counters::count_drop, memory::memory},
};

/// Receives one frame.
#[inline(always)]
pub fn run<P: Platform>(ctx: &TcContext) -> i32 {
    let quick = look::<P>(ctx);
    match quick {
        Quick::Foreign => return TCX_NEXT,
        Quick::Established => {
            take_queued_mark(ctx);
            return TCX_NEXT;
        }
        Quick::Translated => return lower_early(ctx),
        Quick::Found | Quick::Unknown => {}
    }
    let (Some(filled), Some(memory)) = (fill_incoming(), memory()) else {
        return TCX_DROP;
    };
    match parse::incoming(ctx, filled) {
        Parsed::Segment => {}
        Parsed::Other => return TCX_NEXT,
        Parsed::Hidden => {
            count_drop(DropReason::Hidden);
            return TCX_DROP;
        }
    }
    if filled.listener == HELD_LISTENER {
        count_drop(DropReason::Held);
        return TCX_DROP;
    }
    filled.queued = take_queued_mark(ctx);
    filled.found = quick == Quick::Found;
    let segment: &'static Segment = filled;
    let decision = decide::<P, Skb>(ctx, segment, memory);
    log(ctx, segment, &decision);
    carry_out(ctx, segment, memory, decision)
}

/// Lowers a segment that is known early. Not inlined: with one more way to the decision, LLVM leaves a variant's field unset.
#[inline(never)]
fn lower_early(ctx: &TcContext) -> i32 {
    take_queued_mark(ctx);
    match (incoming(), memory()) {
        (Some(segment), Some(memory)) => lower(ctx, segment, memory.ahead.get()),
        _ => TCX_DROP,
    }
}
