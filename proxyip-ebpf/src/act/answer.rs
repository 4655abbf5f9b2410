//! Answers without a socket, written in place of the segment they answer.

use crate::{
    frame::{
        checksum::{fold, pseudo_header},
        ip::ETHERNET,
        reply::{IPV4_AT, IPV6_AT, OPTIONS, Reply, ReplyBuffer, turn_round},
        segment::Segment,
        tcp::{TCP, TCP_CHECKSUM},
    },
    kernel::{
        EINVAL,
        bindings::BPF_F_RECOMPUTE_CSUM,
        helpers::{
            bpf_csum_update, bpf_l4_csum_replace, bpf_skb_change_tail, bpf_skb_load_bytes,
            bpf_skb_store_bytes,
        },
        memory::Place,
        packet::raw,
        programs::TcContext,
    },
};

/// Rewrites the skb of `segment` into this answer, addressed to its sender.
///
/// # Errors
/// The error of the helper that failed; the skb may be half written and must be dropped.
#[inline(always)]
pub fn write(
    reply: &Reply,
    ctx: &TcContext,
    segment: &Segment,
    buffer: &Place<ReplyBuffer>,
) -> Result<(), i64> {
    // SAFETY: of this program's functions only those called here have it.
    let frame = unsafe { buffer.get_mut() };
    let sums = compose(reply, segment, frame);
    emit(ctx, segment, frame, sums)
}

/// Rewrites the skb, which [`write`] has made an answer, into a segment of the same sender.
///
/// # Errors
/// Those of [`write`].
#[inline(always)]
pub fn write_in_its_name(
    reply: &Reply,
    ctx: &TcContext,
    segment: &Segment,
    buffer: &Place<ReplyBuffer>,
) -> Result<(), i64> {
    // SAFETY: of this program's functions only those called here have it.
    let frame = unsafe { buffer.get_mut() };
    let sums = compose(reply, segment, frame);
    turn_round(frame, segment);
    emit(ctx, segment, frame, sums)
}

/// What the checksum of a composed frame is made from.
#[derive(Clone, Copy)]
pub struct Sums {
    pub tcp_length: usize,
    /// Of the TCP header without its checksum.
    header: u64,
    pseudo: u16,
}

impl Sums {
    /// The full checksum.
    #[inline(always)]
    pub fn checksum(self) -> u16 {
        !fold(self.header + u64::from(self.pseudo))
    }
}

/// Composes the frame of an answer to this segment.
#[inline(always)]
pub fn compose(reply: &Reply, segment: &Segment, frame: &mut ReplyBuffer) -> Sums {
    let tcp_length = TCP + reply.options_length.min(OPTIONS);
    let pseudo = fold(pseudo_header(segment, tcp_length));
    Sums { tcp_length, header: reply.compose(segment, frame, pseudo), pseudo }
}

/// Writes the composed frame, and completes its checksum.
#[inline(always)]
fn emit(
    ctx: &TcContext,
    segment: &Segment,
    frame: &mut ReplyBuffer,
    sums: Sums,
) -> Result<(), i64> {
    replace(ctx, segment, frame, sums.tcp_length)?;
    finish_checksum(ctx, ETHERNET + segment.ip_length() + TCP_CHECKSUM, sums)
}

/// Writes the composed frame over the skb. The Ethernet header stays, with its two addresses swapped.
#[inline(never)]
fn replace(
    ctx: &TcContext,
    segment: &Segment,
    frame: &mut ReplyBuffer,
    tcp_length: usize,
) -> Result<(), i64> {
    let skb = raw(ctx);
    let length = ETHERNET + segment.ip_length() + tcp_length;
    let start = if segment.ipv6 { IPV6_AT } else { IPV4_AT } - ETHERNET;
    // The SYN of a Linux peer is as long as its SYN-ACK. Then nothing is cut, and the helper makes no copy.
    if ctx.len() as usize != length {
        // SAFETY: any length is checked by the helper.
        let changed = unsafe { bpf_skb_change_tail(skb, length as u32, 0) };
        if changed != 0 {
            return Err(changed);
        }
    }
    if start + length > frame.0.len() {
        return Err((-EINVAL).into());
    }
    let at = frame.0[start..].as_mut_ptr();
    // SAFETY: the Ethernet header is 14 bytes, and `start + length` is within the frame.
    let stored = unsafe {
        let loaded = bpf_skb_load_bytes(skb.cast(), 0, at.cast(), ETHERNET as u32);
        if loaded != 0 {
            return Err(loaded);
        }
        swap_addresses(at);
        bpf_skb_store_bytes(skb, 0, at.cast(), length as u32, BPF_F_RECOMPUTE_CSUM.into())
    };
    if stored == 0 { Ok(()) } else { Err(stored) }
}

/// Swaps source and destination of an Ethernet header.
///
/// # Safety
/// `header` is valid for 12 bytes.
#[inline(always)]
pub unsafe fn swap_addresses(header: *mut u8) {
    let addresses = header.cast::<[[u8; 6]; 2]>();
    // SAFETY: the caller's promise; arrays of bytes need no alignment.
    unsafe {
        let [destination, source] = addresses.read();
        addresses.write([source, destination]);
    }
}

/// Turns the checksum field, which holds the sum of the pseudo-header, into what the skb needs.
///
/// That sum is right only for an skb whose checksum the device will complete (`CHECKSUM_PARTIAL`): a segment from the
/// same host or from a virtio neighbour. Programs cannot read which kind they have. But `bpf_l4_csum_replace()`
/// without `BPF_F_PSEUDO_HDR` changes the field for every other kind only: there it sets `!(difference - field)`.
/// With `difference = header + 2 * pseudo` that is the full checksum `!(header + pseudo)`.
///
/// That helper does not touch `skb->csum` of a device (`CHECKSUM_COMPLETE`), since field and data normally change
/// together. Here only the field changes. Without the difference, the kernel would log a passed RST as "hw csum
/// failure".
#[inline(always)]
fn finish_checksum(ctx: &TcContext, at: usize, sums: Sums) -> Result<(), i64> {
    let Sums { header, pseudo, .. } = sums;
    let difference = fold(header + 2 * u64::from(pseudo));
    // SAFETY: any offset is checked by the helper.
    let replaced = unsafe { bpf_l4_csum_replace(raw(ctx), at as u32, 0, difference.into(), 0) };
    if replaced != 0 {
        return Err(replaced);
    }
    let change = fold(u64::from(sums.checksum()) + u64::from(!pseudo));
    // SAFETY: changes a number; an error says that the skb has no `CHECKSUM_COMPLETE` sum.
    let _ = unsafe { bpf_csum_update(raw(ctx), change.into()) };
    Ok(())
}
