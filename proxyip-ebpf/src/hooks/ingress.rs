//! The ingress program: one decision for each segment, and what it means for the frame.

use proxyip_common::counter::DropReason;

use crate::{
    act::{Skb, carry_out, hand_over, report::log},
    decide::decide,
    decision::Decision,
    frame::{
        parse::{self, Parsed},
        segment::incoming,
    },
    kernel::{
        bindings::tcx_action_base::{TCX_DROP, TCX_NEXT},
        platform::Platform,
        programs::TcContext,
    },
    state::{counters::count_drop, memory::memory},
};

/// Receives one frame.
#[inline(always)]
pub fn run<P: Platform>(ctx: &TcContext) -> i32 {
    let (Some(segment), Some(memory)) = (incoming(), memory()) else {
        return TCX_DROP;
    };
    match parse::incoming(ctx, segment) {
        Parsed::Segment => {}
        Parsed::Other => return TCX_NEXT,
        Parsed::Hidden => {
            count_drop(DropReason::Hidden);
            return TCX_DROP;
        }
    }
    let mut decision = decide::<P, Skb>(ctx, segment, memory);
    if let Decision::Introduce = decision {
        decision = hand_over::introduce(ctx, segment, memory);
    }
    log(ctx, segment, &decision);
    carry_out(ctx, segment, memory, decision)
}
