//! The ingress program: one verdict for each segment, and what it means for the frame.

use proxyip_common::counter::DropReason;

use crate::{
    act::{Skb, carry_out, hand_over, report::log},
    decide::judge,
    decision::Decision,
    frame::{
        parse::{self, Frame},
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
        Frame::Segment => {}
        Frame::Other => return TCX_NEXT,
        Frame::Hidden => {
            count_drop(DropReason::Hidden);
            return TCX_DROP;
        }
    }
    let mut verdict = judge::<P, Skb>(ctx, segment, memory);
    if let Decision::Introduce = verdict {
        verdict = hand_over::introduce(ctx, segment, memory);
    }
    log(ctx, segment, &verdict);
    carry_out(ctx, segment, memory, verdict)
}
