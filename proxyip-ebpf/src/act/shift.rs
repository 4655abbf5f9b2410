//! Sequence numbers of translated connections: lowered on the way in, raised on the way out.

use crate::{
    frame::{
        options::{LONGEST, NO_OPERATION, SACK, TIMESTAMPS, length_of},
        segment::Segment,
        tcp::{Seq, TCP, TCP_CHECKSUM},
    },
    kernel::{
        bindings::__sk_buff,
        helpers::{bpf_csum_diff, bpf_l4_csum_replace, bpf_skb_load_bytes, bpf_skb_store_bytes},
        packet::raw,
        programs::TcContext,
        verified::bounded,
    },
    state::memory::Egress,
};

/// Lowers the sequence number of a segment that comes in; false if that failed.
#[inline(never)]
pub fn lower(ctx: &TcContext, segment: &Segment, shift: u32) -> bool {
    const SEQUENCE: usize = 4;
    let new = segment.sequence.minus(shift);
    let (at, checksum) = (segment.tcp + SEQUENCE, segment.tcp + TCP_CHECKSUM);
    replace(raw(ctx), at, checksum, segment.sequence.to_header(), new.to_header())
}

/// Offset of the acknowledgment number in the TCP header.
const ACKNOWLEDGMENT: usize = 8;

#[inline(always)]
pub fn raise(ctx: &TcContext, segment: &Segment, scratch: &mut Egress, shift: u32) -> bool {
    let sum = segment.tcp + TCP_CHECKSUM;
    let old = segment.acknowledgment;
    let new = old.plus(shift);
    replace(raw(ctx), segment.tcp + ACKNOWLEDGMENT, sum, old.to_header(), new.to_header())
        && (has_no_sack(ctx, segment) || raise_sack(ctx, segment, scratch, shift))
}

/// Replaces four bytes, and adapts the checksum.
#[inline(always)]
fn replace(skb: *mut __sk_buff, at: usize, checksum_at: usize, old: [u8; 4], new: [u8; 4]) -> bool {
    let (old, new) = (u32::from_ne_bytes(old), u32::from_ne_bytes(new));
    // SAFETY: offsets are checked by the helpers; four bytes are read from `new`.
    unsafe {
        bpf_l4_csum_replace(skb, checksum_at as u32, old.into(), new.into(), 4) == 0
            && bpf_skb_store_bytes(skb, at as u32, (&raw const new).cast(), 4, 0) == 0
    }
}

/// The timestamps as Linux writes them, without their values.
const STAMPED: [u8; 4] = [NO_OPERATION, NO_OPERATION, TIMESTAMPS, 10];

/// Bytes of options that begin with [`STAMPED`], up to the next option.
const STAMPS: usize = 12;

/// Whether there are no options, or the timestamps alone as Linux writes them: nearly every segment.
#[inline(always)]
fn has_no_sack(ctx: &TcContext, segment: &Segment) -> bool {
    match segment.header.wrapping_sub(TCP) {
        0 => true,
        STAMPS => starts_with_stamps(ctx, segment),
        _ => false,
    }
}

#[inline(always)]
fn starts_with_stamps(ctx: &TcContext, segment: &Segment) -> bool {
    ctx.load::<[u8; 4]>(segment.tcp + TCP).is_ok_and(|options| options == STAMPED)
}

/// Bytes of four SACK blocks, the most that fit in a header.
const BLOCKS: usize = 32;

/// Raises both edges of each SACK block.
#[inline(never)]
fn raise_sack(ctx: &TcContext, segment: &Segment, scratch: &mut Egress, shift: u32) -> bool {
    if !find_sack(ctx, segment, scratch) {
        return false;
    }
    let at = scratch.sack_at;
    if scratch.sack_length == 0 {
        return true;
    }
    // The kernel aligns its options; the checksum of others would need its bytes swapped.
    if !at.is_multiple_of(2) {
        return false;
    }
    let skb = raw(ctx);
    scratch.old = [0; BLOCKS / 4];
    let Some(length) = bounded::<BLOCKS>(scratch.sack_length) else { return false };
    // SAFETY: `length` is at most the size of the buffer.
    let loaded = unsafe {
        bpf_skb_load_bytes(skb.cast(), at as u32, scratch.old.as_mut_ptr().cast(), length as u32)
    };
    if loaded != 0 {
        return false;
    }
    // What is behind the blocks is zero before and not summed after.
    scratch.new = [0; BLOCKS / 4];
    for (index, (new, old)) in scratch.new.iter_mut().zip(scratch.old).enumerate() {
        if index * 4 < length {
            *new = Seq(u32::from_be(old)).plus(shift).0.to_be();
        }
    }
    let (old, new) = (scratch.old.as_mut_ptr(), scratch.new.as_mut_ptr());
    let checksum = (segment.tcp + TCP_CHECKSUM) as u32;
    // SAFETY: the whole buffers are summed.
    let replaced = unsafe {
        let difference = bpf_csum_diff(old, BLOCKS as u32, new, BLOCKS as u32, 0);
        difference >= 0 && bpf_l4_csum_replace(skb, checksum, 0, difference.cast_unsigned(), 0) == 0
    };
    let Some(length) = bounded::<BLOCKS>(scratch.sack_length) else { return false };
    // SAFETY: `length` is at most the size of the buffer.
    replaced && unsafe { bpf_skb_store_bytes(skb, at as u32, new.cast(), length as u32, 0) } == 0
}

/// Finds the blocks in the options; false if the frame ends before those do. Timestamps that come first are skipped at once,
/// and so are the no-operations that Linux writes before the blocks.
#[inline(always)]
fn find_sack(ctx: &TcContext, segment: &Segment, scratch: &mut Egress) -> bool {
    const BLOCKS_ALONE: [u8; 3] = [NO_OPERATION, NO_OPERATION, SACK];
    const BLOCK: usize = 8;
    scratch.at = segment.tcp + TCP;
    scratch.end = segment.tcp + segment.header;
    scratch.sack_length = 0;
    if segment.header >= TCP + STAMPS && starts_with_stamps(ctx, segment) {
        scratch.at += STAMPS;
    }
    if let Ok([first, second, kind, length]) = ctx.load::<[u8; 4]>(scratch.at)
        && [first, second, kind] == BLOCKS_ALONE
        && usize::from(length) >= 2 + BLOCK
        && usize::from(length) + 2 == scratch.end.wrapping_sub(scratch.at)
    {
        scratch.sack_at = scratch.at + 4;
        scratch.sack_length = usize::from(length).wrapping_sub(2) & !7;
        return true;
    }
    for _ in 0..LONGEST {
        if scratch.at >= scratch.end {
            break;
        }
        if !skip_option(ctx, scratch) {
            return false;
        }
    }
    true
}

/// Looks at the option at `scratch.at` and moves behind it; false if the frame ends before it.
#[inline(never)]
fn skip_option(ctx: &TcContext, scratch: &mut Egress) -> bool {
    let Ok(kind) = ctx.load::<u8>(scratch.at) else { return false };
    let second = ctx.load::<u8>(scratch.at + 1).unwrap_or(0);
    let Some(length) = length_of(kind, second, scratch.end.wrapping_sub(scratch.at)) else {
        scratch.at = scratch.end;
        return true;
    };
    if kind == SACK {
        scratch.sack_at = scratch.at + 2;
        scratch.sack_length = length.wrapping_sub(2) & !7;
    }
    scratch.at += length;
    true
}
