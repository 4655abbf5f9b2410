//! The way out of translated connections: what the kernel acknowledges is raised by the header's length.

use proxyip_common::counter::{DropReason, Obstacle};

use crate::{
    act::shift::raise,
    decide::{
        outgoing::{goes_elsewhere, shift_of},
        quick::needs_no_translation,
    },
    frame::{
        parse::{self, Parsed},
        segment::outgoing,
        tcp::flags,
    },
    kernel::{
        bindings::tcx_action_base::{TCX_DROP, TCX_NEXT},
        programs::TcContext,
    },
    state::{
        counters::{count_drop, count_left},
        memory::egress,
        translations::is_in_use,
    },
};

/// Sends one frame.
#[inline(always)]
pub fn run(ctx: &TcContext) -> i32 {
    if translate(ctx) {
        return TCX_NEXT;
    }
    count_drop(DropReason::TranslateFailed);
    TCX_DROP
}

/// Raises the acknowledgment and the SACK blocks of a translated connection's segment; false if that failed.
#[inline(always)]
fn translate(ctx: &TcContext) -> bool {
    if !is_in_use() || needs_no_translation(ctx) {
        return true;
    }
    let (Some(segment), Some(scratch)) = (outgoing(), egress()) else { return false };
    if parse::outgoing(ctx, segment) != Parsed::Segment
        || segment.flags & (flags::ACK | flags::RST) == 0
    {
        return true;
    }
    if segment.has(flags::SYN) {
        if goes_elsewhere(ctx, segment, scratch) {
            count_left(Obstacle::Redirected);
        }
        return true;
    }
    let shift = shift_of(segment, scratch);
    shift == 0 || !segment.has(flags::ACK) || raise(ctx, segment, scratch, shift)
}
