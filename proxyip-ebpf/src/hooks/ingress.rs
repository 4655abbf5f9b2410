//! The ingress program: one verdict for each segment, and what it means for the frame.

use proxyip_common::counter::DropReason;

use crate::{
    act::{carry_out, hand_over, report::log},
    decide::judge,
    decision::Verdict,
    frame::{
        parse::{self, Frame},
        segment::incoming,
    },
    kernel::{
        bindings::tcx_action_base::{TCX_DROP, TCX_NEXT},
        platform::Platform,
        programs::TcContext,
    },
    memory::scratch,
    state::counters::count_drop,
};

/// Receives one frame.
#[inline(always)]
pub fn run<P: Platform>(ctx: &TcContext) -> i32 {
    let (Some(segment), Some(scratch)) = (incoming(), scratch()) else {
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
    let mut verdict = judge::<P>(ctx, segment, scratch);
    if let Verdict::Introduce = verdict {
        verdict = hand_over::introduce(ctx, segment, scratch);
    }
    log(ctx, segment, &verdict);
    carry_out(ctx, segment, scratch, verdict)
}
