//! The ingress program: one decision for each segment, and what it means for the frame.

use proxyip_common::counter::DropReason;

use crate::{
    act::{Skb, carry_out, report::log},
    decide::{
        decide,
        quick::{Quick, look},
    },
    frame::{
        parse::{self, Parsed},
        segment::{HELD_LISTENER, Segment, fill_incoming},
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
