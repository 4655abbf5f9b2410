//! Whether a segment arrived as it was sent.
//!
//! The programs answer a segment, read its header and make a bare ACK from it before TCP sees it. What they write gets a new
//! checksum. So this code checks the segment's checksum, unless somebody has done so before.

use core::cell::Cell;

use crate::{
    frame::{
        checksum::{fold, pseudo_header},
        options::Found,
        segment::{Segment, incoming},
        tcp::{TCP, TCP_CHECKSUM},
    },
    kernel::{
        bindings::__sk_buff,
        helpers::bpf_csum_diff,
        memory::{Place, Room, room},
        packet::{Buffered, Packet, load_at, load_bytes},
        verified::{Code, bounded},
    },
};

/// Bytes that `bpf_csum_diff()` takes at once.
const CHUNK: usize = 512;

/// As many as the longest segment that is not made of several has.
const CHUNKS: u32 = 65_536 / CHUNK as u32;

/// What has been summed of a segment, in working memory.
#[repr(C, align(8))]
pub struct Summing {
    sum: Cell<u64>,
    /// Offset of the next byte in the frame.
    at: Cell<usize>,
    left: Cell<usize>,
    bytes: Place<[u32; CHUNK / 4]>,
}

// SAFETY: cells; each is valid when it is zero.
unsafe impl Room for Summing {
    const AT: usize = Found::END;
}

/// Whether the checksum of the segment being read is right, or need not be looked at: the device or GRO has verified it,
/// or the segment was never on a wire and has none (`CHECKSUM_PARTIAL`).
#[inline(always)]
pub fn is_intact(packet: &impl Buffered) -> bool {
    packet.is_verified() || has_right_sum(packet.buffer()) != 0
}

/// What the bytes of a segment say of its checksum, where nothing more is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AtHand {
    /// It is right.
    Right,
    /// It is the pseudo-header's sum: a device is to complete it, and the segment was never on a wire.
    Partial,
    /// It is neither. A device may have verified the segment all the same.
    Unknown,
}

/// Looks at the checksum of a segment without payload, whose options are in working memory.
#[inline(never)]
pub fn sum_at_hand(packet: &impl Packet, segment: &Segment, options: &Found) -> AtHand {
    let Some(header) = packet.load_at::<[u32; TCP / 4]>(segment.tcp) else {
        return AtHand::Unknown;
    };
    let pseudo = pseudo_header(segment, segment.header);
    let mut sum = pseudo;
    for word in header {
        sum += u64::from(word);
    }
    // SAFETY: written before, and nobody writes it any more. It is zero behind the options.
    for word in unsafe { options.bytes.get() }.as_chunks::<4>().0 {
        sum += u64::from(u32::from_ne_bytes(*word));
    }
    let [.., last] = header;
    let [first, second, ..] = last.to_ne_bytes();
    if fold(sum) == u16::MAX {
        AtHand::Right
    } else if u16::from_ne_bytes([first, second]) == fold(pseudo) {
        AtHand::Partial
    } else {
        AtHand::Unknown
    }
}

// Exported: the verifier walks these once, and not at each call or in each round.

/// 1 if the checksum of the segment being read is right, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn has_right_sum(skb: *mut __sk_buff) -> Code {
    let (Some(segment), Some(summing)) = (incoming(), room::<Summing>()) else { return 0 };
    let length = segment.header + segment.payload;
    let pseudo = pseudo_header(segment, length);
    let Some(checksum) = load_at::<u16>(skb, segment.tcp + TCP_CHECKSUM) else { return 0 };
    if checksum == fold(pseudo) {
        return 1;
    }
    summing.sum.set(pseudo);
    summing.at.set(segment.tcp);
    summing.left.set(length);
    add_up(skb);
    Code::from(summing.left.get() == 0 && fold(summing.sum.get()) == u16::MAX)
}

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
    let Some(summing) = room::<Summing>() else { return 0 };
    let length = summing.left.get().min(CHUNK);
    let bytes = summing.bytes.as_ptr();
    if length < CHUNK {
        // SAFETY: the place is there, and nobody has a reference to it.
        unsafe { bytes.write([0; CHUNK / 4]) };
    }
    let Some(length) = bounded::<CHUNK>(length) else { return 0 };
    // SAFETY: `length` is at most the size of the buffer, and the whole buffer is summed.
    let added = unsafe {
        if !load_bytes(skb, summing.at.get(), bytes.cast(), length) {
            return 0;
        }
        bpf_csum_diff(core::ptr::null_mut(), 0, bytes.cast(), CHUNK as u32, 0)
    };
    summing.sum.set(summing.sum.get() + (added.cast_unsigned() & 0xffff_ffff));
    summing.at.set(summing.at.get() + length);
    summing.left.set(summing.left.get() - length);
    1
}
