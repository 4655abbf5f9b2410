//! Segments that are changed before the kernel gets them.

use crate::{
    frame::{
        checksum::{copy, fold, pseudo_header, sum},
        ip::{ETHERNET, IPV4, IPV6},
        options::{LONGEST, NO_OPERATION},
        segment::Segment,
        tcp::{Seq, TCP, TCP_CHECKSUM},
    },
    kernel::{
        bindings::BPF_F_RECOMPUTE_CSUM,
        helpers::{bpf_csum_diff, bpf_l4_csum_replace, bpf_skb_load_bytes, bpf_skb_store_bytes},
        packet::raw,
        programs::TcContext,
        verified::bounded,
    },
    state::memory::Memory,
};

/// Overwrites the options that the kernel must not see in a SYN with no-operations. MPTCP (RFC 8684) has its own
/// sequence numbers for the payload. With TCP Fast Open (RFC 7413) the application would see the connection before
/// its header has come. The options have been read already. False if a helper failed.
#[inline(never)]
pub fn blank(ctx: &TcContext, segment: &Segment, memory: &Memory) -> bool {
    let unwanted = memory.options.received.unwanted.get();
    if unwanted == 0 {
        return true;
    }
    let (old, new) = (memory.options.bytes.as_ptr(), memory.blanked.as_ptr());
    // SAFETY: two places, to which nobody else has a reference.
    unsafe {
        new.write(old.read());
        for (byte, blanked) in (*new).iter_mut().enumerate() {
            if unwanted >> byte & 1 != 0 {
                *blanked = NO_OPERATION;
            }
        }
    }
    let (skb, at) = (raw(ctx), segment.tcp + TCP);
    // SAFETY: `length` is at most 40, and both buffers hold 64 bytes.
    unsafe {
        let difference = bpf_csum_diff(old.cast(), 64, new.cast(), 64, 0);
        let checksum = (segment.tcp + TCP_CHECKSUM) as u32;
        if difference < 0
            || bpf_l4_csum_replace(skb, checksum, 0, difference.cast_unsigned(), 0) != 0
        {
            return false;
        }
    }
    // SAFETY: as above.
    unsafe { old.write(new.read()) };
    let Some(length) = bounded::<LONGEST>(memory.options.length.get()) else { return false };
    // SAFETY: as above.
    unsafe { bpf_skb_store_bytes(skb, at as u32, new.cast(), length as u32, 0) == 0 }
}

/// Where the TCP header is in the working frame, for both families.
const TCP_AT: usize = IPV6;

/// What a segment becomes whose payload is cut off.
#[derive(Clone, Copy)]
pub struct Start {
    pub sequence: Seq,
    pub flags: u8,
}

/// Cuts the payload off the segment, and gives it this sequence number and these flags. The segment's options are in
/// working memory.
///
/// Only the length in the IP header is changed. The IP layer then trims the skb itself, without the copy that
/// `bpf_skb_change_tail()` makes of a paged payload. False if a helper failed.
#[inline(never)]
pub fn trim(ctx: &TcContext, segment: &Segment, memory: &Memory, start: Start) -> bool {
    // SAFETY: this is the only function of this program that uses it.
    let frame = &mut unsafe { memory.reply.get_mut() }.0;
    let length = segment.ip_length() + TCP;
    let at = frame[TCP_AT - segment.ip_length()..].as_mut_ptr();
    let skb = raw(ctx);
    // SAFETY: the frame holds an IPv6 and a TCP header, and an IPv4 header starts later.
    let loaded =
        unsafe { bpf_skb_load_bytes(skb.cast(), ETHERNET as u32, at.cast(), length as u32) };
    if loaded != 0 {
        return false;
    }
    if segment.ipv6 {
        copy(frame, 4, (segment.header as u16).to_be_bytes());
    } else {
        let ip = TCP_AT - IPV4;
        copy(frame, ip + 2, ((IPV4 + segment.header) as u16).to_be_bytes());
        copy(frame, ip + 10, [0; 2]);
        let checksum = !fold(sum::<IPV4, _>(frame, ip));
        copy(frame, ip + 10, checksum.to_ne_bytes());
    }
    copy(frame, TCP_AT + 4, start.sequence.to_header());
    frame[TCP_AT + 13] = start.flags;
    copy(frame, TCP_AT + TCP_CHECKSUM, [0; 4]);
    // SAFETY: the options have been read.
    let options = unsafe { memory.options.bytes.get() };
    let tcp = sum::<TCP, _>(frame, TCP_AT) + sum::<LONGEST, _>(options, 0);
    let checksum = !fold(pseudo_header(segment, segment.header) + tcp);
    copy(frame, TCP_AT + TCP_CHECKSUM, checksum.to_ne_bytes());
    // SAFETY: as above.
    unsafe {
        let flags = BPF_F_RECOMPUTE_CSUM.into();
        bpf_skb_store_bytes(skb, ETHERNET as u32, at.cast(), length as u32, flags) == 0
    }
}

/// Cuts off what a SYN carries: with TCP Fast Open the application would get it at once. It comes again, behind the
/// handshake. False if that failed.
#[inline(always)]
pub fn cut_payload(ctx: &TcContext, segment: &Segment, memory: &Memory) -> bool {
    let start = Start { sequence: segment.sequence, flags: segment.flags };
    segment.payload == 0 || trim(ctx, segment, memory, start)
}
