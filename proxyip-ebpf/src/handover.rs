//! Makes the kernel build the socket: the last step of the accept hand-off.
//!
//! The first segment, cut down to a bare ACK behind the header, becomes the handshake's last; a clone of the
//! unmodified segment follows it, of which TCP trims the header as data already received. No payload byte is
//! moved, so GSO, paged data and checksum state need no care.

use proxyip_common::counter::{Counter, DropReason};

use crate::{
    accept::classes,
    checksum::{copy, fold, pseudo_header, sum},
    judge::{Verdict, settings},
    kernel::{
        bindings::{BPF_F_INGRESS, BPF_F_RECOMPUTE_CSUM},
        helpers::{bpf_clone_redirect, bpf_redirect, bpf_skb_load_bytes, bpf_skb_store_bytes},
        programs::TcContext,
    },
    kfunc::RequestAttributes,
    maps::Scratch,
    options,
    packet::{ETHERNET, IPV4, IPV6, Segment, TCP, flags, raw},
    reply::TCP_CHECKSUM,
    socket::Socket,
};

/// In `tc_index` of the clone that carries the payload: if it finds no socket it must not be taken for a
/// first segment again, or a connection that TCP refuses would come back for ever.
const CLONE: u32 = 0x5050;

/// Whether this skb is the clone that [`queue_payload`] queued; takes the mark off it.
#[inline(always)]
pub fn take_clone(ctx: &TcContext) -> bool {
    let skb = raw(ctx);
    // SAFETY: a field of the context.
    unsafe {
        let clone = (*skb).tc_index == CLONE;
        if clone {
            (*skb).tc_index = 0;
        }
        clone
    }
}

/// Queues the skb itself for the interface's ingress, behind the clone of the connection's first segment.
/// If it finds no socket then, it is dropped like that clone.
#[inline(always)]
pub fn requeue(ctx: &TcContext) -> i32 {
    let skb = raw(ctx);
    // SAFETY: fields of the context; the interface is the one the segment came from.
    unsafe {
        (*skb).tc_index = CLONE;
        bpf_redirect((*skb).ifindex, BPF_F_INGRESS.into()) as i32
    }
}

/// Makes the connection from the first segment, whose header has been read. What the cookie held is in
/// `scratch.agreed`.
///
/// Socket first, then payload, then the bare ACK: a failure of any of them drops the skb, and with it the
/// request socket that nobody has seen yet.
///
/// # Errors
/// What becomes of the segment instead.
#[inline(always)]
pub fn build(
    ctx: &TcContext,
    segment: &Segment,
    scratch: &mut Scratch,
    socket: &Socket,
) -> Result<(), Verdict> {
    let Some(settings) = settings() else {
        return Err(Verdict::drop(DropReason::AssignRefused));
    };
    if !options::read(ctx, segment, scratch) {
        return Err(Verdict::drop(DropReason::TrimFailed));
    }
    let agreed = scratch.agreed;
    let mut attributes = RequestAttributes {
        mss: agreed.mss(classes(segment)),
        sack_ok: u8::from(agreed.sack),
        ..RequestAttributes::default()
    };
    if let Some(scale) = agreed.window_scale {
        attributes.wscale_ok = 1;
        attributes.snd_wscale = scale;
        attributes.rcv_wscale = settings.window_scale;
    }
    if let Some(timestamps) = scratch.received.timestamps {
        attributes.tstamp_ok = 1;
        attributes.rcv_tsval = timestamps.value;
        attributes.rcv_tsecr = timestamps.echo;
    }
    if socket.assign(ctx, &mut attributes).is_err() {
        return Err(Verdict::reset(DropReason::AssignRefused));
    }
    if !queue_payload(ctx) {
        return Err(Verdict::Hold(Counter::PayloadRetry));
    }
    let header = scratch.event.record.header_length;
    let sequence = scratch.isn.wrapping_add(1).wrapping_add(header.into());
    if trim(ctx, segment, scratch, sequence, flags::ACK) {
        return Ok(());
    }
    Err(Verdict::drop(DropReason::TrimFailed))
}

/// Makes a bare ACK of the first segment of a translated connection, and queues the segment itself behind it.
#[inline(always)]
pub fn introduce(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Verdict {
    if !options::read(ctx, segment, scratch) {
        return Verdict::drop(DropReason::TrimFailed);
    }
    if !queue_payload(ctx) {
        return Verdict::Hold(Counter::PayloadRetry);
    }
    let sequence = scratch.isn.wrapping_add(1);
    if trim(ctx, segment, scratch, sequence, flags::ACK) {
        return Verdict::Pass;
    }
    Verdict::drop(DropReason::TrimFailed)
}

/// Queues a clone of the unmodified segment, to be received after the bare ACK.
///
/// This also happens when there is nothing but the header: the kernel then acknowledges it at once, and the
/// peer need not send it again.
#[inline(always)]
fn queue_payload(ctx: &TcContext) -> bool {
    let skb = raw(ctx);
    // SAFETY: fields of the context; the interface is the one the segment came from.
    unsafe {
        (*skb).tc_index = CLONE;
        let queued = bpf_clone_redirect(skb, (*skb).ifindex, BPF_F_INGRESS.into());
        (*skb).tc_index = 0;
        queued == 0
    }
}

/// Where the TCP header is in the working frame, for both families.
const TCP_AT: usize = IPV6;

/// Cuts the payload off the segment, whose options are in `scratch.options`, and gives it this sequence number and
/// these flags.
///
/// Only the length in the IP header is changed: the IP layer then trims the skb itself, without the copy
/// that `bpf_skb_change_tail()` makes of a paged payload.
/// False if a helper failed.
#[inline(never)]
pub fn trim(
    ctx: &TcContext,
    segment: &Segment,
    scratch: &mut Scratch,
    sequence: u32,
    flags: u8,
) -> bool {
    let frame = &mut scratch.frame.0;
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
    copy(frame, TCP_AT + 4, sequence.to_be_bytes());
    frame[TCP_AT + 13] = flags;
    copy(frame, TCP_AT + TCP_CHECKSUM, [0; 4]);
    let tcp = sum::<TCP, _>(frame, TCP_AT) + sum::<40, _>(&scratch.options, 0);
    let checksum = !fold(pseudo_header(segment, segment.header) + tcp);
    copy(frame, TCP_AT + TCP_CHECKSUM, checksum.to_ne_bytes());
    // SAFETY: as above.
    unsafe {
        let flags = BPF_F_RECOMPUTE_CSUM.into();
        bpf_skb_store_bytes(skb, ETHERNET as u32, at.cast(), length as u32, flags) == 0
    }
}
