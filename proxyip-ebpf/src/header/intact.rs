//! Whether a first segment arrived as it was sent.
//!
//! The header is read before TCP sees the segment, and the bare ACK made of it gets a checksum of its own. So
//! the checksum of the segment must be looked at here, wherever nobody has done so before.

use crate::{
    frame::{
        checksum::{fold, pseudo_header},
        segment::Segment,
        tcp::TCP_CHECKSUM,
    },
    kernel::{
        bindings::{__sk_buff, BPF_CSUM_LEVEL_QUERY},
        helpers::{bpf_csum_diff, bpf_csum_level, bpf_skb_load_bytes},
        packet::raw,
        programs::TcContext,
        verified::{Code, bounded, share},
    },
    memory::{Scratch, scratch},
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
    let summing = share(summing);
    add_up(skb);
    let summing = share(summing);
    summing.left == 0 && fold(summing.sum) == u16::MAX
}

// Exported: the verifier walks these once, and not at each call or in each round.

/// Adds up what is to be summed, or as much of it as the frame has.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn add_up(skb: *mut __sk_buff) -> Code {
    for _ in 0..CHUNKS {
        if add_chunk(skb) == 0 {
            break;
        }
    }
    0
}

/// Adds the next chunk; 0 if there is none, or if the frame ends before it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn add_chunk(skb: *mut __sk_buff) -> Code {
    let Some(scratch) = scratch() else { return 0 };
    let summing = &mut scratch.summing;
    let length = summing.left.min(CHUNK);
    if length < CHUNK {
        summing.bytes = [0; CHUNK / 4];
    }
    let Some(length) = bounded::<CHUNK>(length) else { return 0 };
    let bytes = summing.bytes.as_mut_ptr();
    // SAFETY: `length` is at most the size of the buffer, of which all is summed.
    let added = unsafe {
        if bpf_skb_load_bytes(skb.cast(), summing.at as u32, bytes.cast(), length as u32) != 0 {
            return 0;
        }
        bpf_csum_diff(core::ptr::null_mut(), 0, bytes, CHUNK as u32, 0)
    };
    summing.sum += added.cast_unsigned() & 0xffff_ffff;
    summing.at += length;
    summing.left -= length;
    1
}
