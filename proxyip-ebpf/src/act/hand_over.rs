//! Makes the kernel build the socket: the last step of the accept hand-off.
//!
//! The first segment, cut down to a bare ACK behind the header, becomes the handshake's last; a clone of the
//! unmodified segment follows it, of which TCP trims the header as data already received. No payload byte is
//! moved, so GSO, paged data and checksum state need no care.

use proxyip_common::counter::{Counter, DropReason};

use crate::{
    act::rewrite::trim,
    decision::Verdict,
    frame::{
        options,
        segment::{Segment, classes},
        tcp::flags,
    },
    kernel::{
        bindings::BPF_F_INGRESS,
        helpers::{bpf_clone_redirect, bpf_redirect},
        kfunc::RequestAttributes,
        packet::{CLONE, raw},
        programs::TcContext,
    },
    memory::Scratch,
    state::{namespace::settings, sockets::Socket},
};

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
