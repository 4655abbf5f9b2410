//! The way out of translated connections: what the kernel acknowledges is raised by the header's length.

use proxyip_common::counter::{DropReason, Obstacle};

use crate::{
    act::shift::raise,
    decide::{
        outgoing::{goes_elsewhere, note_neighbour, shift_of},
        quick::{Outgoing, look_out},
    },
    frame::{
        parse::{self, Parsed},
        segment::{Segment, outgoing},
        tcp::flags,
    },
    kernel::{
        bindings::tcx_action_base::{TCX_DROP, TCX_NEXT},
        programs::TcContext,
    },
    state::{
        counters::{count_drop, count_left},
        in_use,
        memory::{Egress, egress},
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
    let used = in_use::Outgoing::read();
    if used.is_idle() {
        return true;
    }
    if used.has(in_use::NEIGHBOURS) {
        note_neighbour(ctx);
    }
    if !used.has(in_use::TRANSLATE) {
        return true;
    }
    let quick = look_out(ctx);
    if quick == Outgoing::Untranslated {
        return true;
    }
    let (Some(segment), Some(scratch)) = (outgoing(), egress()) else { return false };
    let shift = match quick {
        Outgoing::Translated => scratch.ahead,
        _ => look_up(ctx, segment, scratch),
    };
    shift == 0 || raise(ctx, segment, scratch, shift)
}

/// By how much the table says that the segment is to be raised; 0 if it goes on as it is.
#[inline(always)]
fn look_up(ctx: &TcContext, segment: &mut Segment, scratch: &mut Egress) -> u32 {
    if parse::outgoing(ctx, segment) != Parsed::Segment
        || segment.flags & (flags::ACK | flags::RST) == 0
    {
        return 0;
    }
    if segment.has(flags::SYN) {
        if goes_elsewhere(ctx, segment, scratch) {
            count_left(Obstacle::Redirected);
        }
        return 0;
    }
    let shift = shift_of(segment, scratch);
    if segment.has(flags::ACK) { shift } else { 0 }
}
