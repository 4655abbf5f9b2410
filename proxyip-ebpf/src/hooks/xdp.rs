//! The program at XDP, in front of the ingress program: it spares the kernel the skb of a SYN and of a handshake's bare ACK.
//!
//! Softirqs of one CPU do not nest, and XDP is through with a frame before TC sees one. So both have the same working
//! memory.

use crate::{
    act::ahead::carry_out,
    decide::ahead::{decide, is_candidate},
    frame::{
        parse::{self, Parsed},
        segment::{Segment, Shape, fill_incoming},
    },
    kernel::{
        bindings::xdp_action::{self, XDP_PASS},
        programs::XdpContext,
        xdp::XdpFrame,
    },
    state::memory::memory,
};

/// Receives one frame.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> xdp_action::Type {
    let Some(frame) = XdpFrame::new(ctx) else { return XDP_PASS };
    if !is_candidate(&frame) {
        return XDP_PASS;
    }
    let (Some(filled), Some(memory)) = (fill_incoming(), memory()) else { return XDP_PASS };
    if parse::incoming(&frame, filled) != Parsed::Segment || filled.shape != Shape::Plain {
        return XDP_PASS;
    }
    (filled.queued, filled.found) = (false, false);
    let segment: &'static Segment = filled;
    match decide(&frame, segment, memory) {
        Some(decision) => carry_out((ctx, &frame), segment, memory, decision),
        None => XDP_PASS,
    }
}
