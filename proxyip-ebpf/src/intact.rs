//! Whether a first segment arrived as it was sent.
//!
//! The header is read before TCP sees the segment, and the bare ACK made of it gets a checksum of its own. So
//! the checksum of the segment must be looked at here, wherever nobody has done so before.

use core::ops::ControlFlow;

use aya_ebpf::{
    bindings::BPF_CSUM_LEVEL_QUERY,
    helpers::{bpf_csum_diff, bpf_csum_level, bpf_skb_load_bytes},
    programs::TcContext,
};

use crate::{
    checksum::{fold, pseudo_header},
    maps::Scratch,
    packet::{Segment, raw},
    repeat::repeat,
    reply::TCP_CHECKSUM,
};

/// Bytes that `bpf_csum_diff()` takes at once.
const CHUNK: usize = 512;
/// As many as the longest segment that is not made of several has.
const CHUNKS: u32 = 65_536 / CHUNK as u32;

/// What has been summed of a segment.
#[repr(C)]
pub struct Summing {
    sum: u64,
    /// Offset of the next byte in the frame.
    at: usize,
    left: usize,
    bytes: [u32; CHUNK / 4],
}

/// Whether the segment's checksum is right, or need not be looked at: the device or GRO has verified it, or
/// the segment was never on a wire and has none (`CHECKSUM_PARTIAL`).
#[inline(never)]
pub fn is_intact(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> bool {
    let skb = raw(ctx);
    // SAFETY: a field of the context, and a question that changes nothing.
    let verified =
        unsafe { (*skb).gso_size != 0 || bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY.into()) >= 0 };
    if verified {
        return true;
    }
    let length = segment.header + segment.payload;
    let pseudo = pseudo_header(segment, length);
    let Ok(checksum) = ctx.load::<u16>(segment.tcp + TCP_CHECKSUM) else {
        return false;
    };
    if checksum == fold(pseudo) {
        return true;
    }
    let summing = &mut scratch.summing;
    summing.sum = pseudo;
    summing.at = segment.tcp;
    summing.left = length;
    repeat(CHUNKS, &mut (ctx, &mut *summing), |(ctx, summing)| {
        if summing.left != 0 && add_chunk(ctx, summing) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    summing.left == 0 && fold(summing.sum) == u16::MAX
}

/// Adds the next chunk; false if the frame ends before it.
#[inline(always)]
fn add_chunk(ctx: &TcContext, summing: &mut Summing) -> bool {
    let length = summing.left.min(CHUNK);
    if length < CHUNK {
        summing.bytes = [0; CHUNK / 4];
    }
    if length == 0 || length > CHUNK {
        return false;
    }
    let bytes = summing.bytes.as_mut_ptr();
    // SAFETY: `length` is at most the size of the buffer, of which all is summed.
    let added = unsafe {
        if bpf_skb_load_bytes(raw(ctx).cast(), summing.at as u32, bytes.cast(), length as u32) != 0
        {
            return false;
        }
        bpf_csum_diff(core::ptr::null_mut(), 0, bytes, CHUNK as u32, 0)
    };
    summing.sum += added.cast_unsigned() & 0xffff_ffff;
    summing.at += length;
    summing.left -= length;
    true
}
