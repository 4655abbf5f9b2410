//! Makes the kernel build the socket: the last step of the accept hand-off.
//!
//! The first segment is cut down to a bare ACK behind the header and becomes the handshake's last segment. A clone of
//! the unmodified segment follows it. TCP trims the header from the clone as data already received. No payload byte
//! is moved, so GSO, paged data and checksum state need no care.

use proxyip_common::counter::{Counter, DropReason};

use crate::{
    act::rewrite::trim,
    decision::Decision,
    frame::{
        options,
        segment::{Segment, classes},
        tcp::flags,
    },
    kernel::{
        bindings::BPF_F_INGRESS,
        helpers::{bpf_clone_redirect, bpf_redirect},
        kfunc::RequestAttributes,
        packet::{QUEUED_MARK, raw},
        programs::TcContext,
    },
    state::{memory::Memory, namespace::settings, sockets::Socket},
};

/// Queues the skb itself for the interface's ingress, behind the clone of the connection's first segment.
/// If it finds no socket then, it is dropped like that clone.
#[inline(always)]
pub fn requeue(ctx: &TcContext) -> i32 {
    let skb = raw(ctx);
    // SAFETY: fields of the context; the interface is the one the segment came from.
    unsafe {
        (*skb).tc_index = QUEUED_MARK;
        bpf_redirect((*skb).ifindex, BPF_F_INGRESS.into()) as i32
    }
}

/// Makes the connection from the first segment after its header has been read. `memory.agreed` holds what the cookie
/// held.
///
/// Socket first, then payload, then the bare ACK: if any of them fails, the skb is dropped. The request socket goes
/// with it, and nobody has seen that yet.
///
/// # Errors
/// What to do with the segment instead.
#[inline(always)]
pub fn build(
    ctx: &TcContext,
    segment: &Segment,
    memory: &Memory,
    socket: &Socket,
) -> Result<(), Decision> {
    if !options::read(ctx, segment, &memory.options) {
        return Err(Decision::Refuse(DropReason::TrimFailed));
    }
    let mut attributes = RequestAttributes::default();
    if !fill(&mut attributes, segment, memory) {
        return Err(Decision::Refuse(DropReason::AssignRefused));
    }
    if socket.assign(ctx, &mut attributes).is_err() {
        return Err(Decision::Refuse(DropReason::AssignRefused));
    }
    if !queue_payload(ctx) {
        return Err(Decision::Hold(Counter::PayloadRetry));
    }
    let header = memory.record().header_length;
    let sequence = memory.isn.get().wrapping_add(1).wrapping_add(header.into());
    if trim(ctx, segment, memory, sequence, flags::ACK) {
        return Ok(());
    }
    Err(Decision::Refuse(DropReason::TrimFailed))
}

/// Says what the two ends agreed on; false if the namespace's settings are not there. Not inlined: its numbers need no room on the stack of what follows.
#[inline(never)]
fn fill(attributes: &mut RequestAttributes, segment: &Segment, memory: &Memory) -> bool {
    let Some(settings) = settings() else { return false };
    let agreed = memory.agreed.get();
    attributes.mss = agreed.mss(classes(segment));
    attributes.sack_ok = u8::from(agreed.sack);
    if let Some(scale) = agreed.window_scale {
        attributes.wscale_ok = 1;
        attributes.snd_wscale = scale;
        attributes.rcv_wscale = settings.window_scale;
    }
    if let Some(timestamps) = memory.options.received.timestamps.get() {
        attributes.tstamp_ok = 1;
        attributes.rcv_tsval = timestamps.value;
        attributes.rcv_tsecr = timestamps.echo;
    }
    true
}

/// Makes a bare ACK of the first segment of a translated connection, and queues the segment itself behind it.
#[inline(never)]
pub fn introduce(ctx: &TcContext, segment: &Segment, memory: &Memory) -> Decision {
    if !options::read(ctx, segment, &memory.options) {
        return Decision::Refuse(DropReason::TrimFailed);
    }
    if !queue_payload(ctx) {
        return Decision::Hold(Counter::PayloadRetry);
    }
    let sequence = memory.isn.get().wrapping_add(1);
    if trim(ctx, segment, memory, sequence, flags::ACK) {
        return Decision::Pass;
    }
    Decision::Refuse(DropReason::TrimFailed)
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
        (*skb).tc_index = QUEUED_MARK;
        let queued = bpf_clone_redirect(skb, (*skb).ifindex, BPF_F_INGRESS.into());
        (*skb).tc_index = 0;
        queued == 0
    }
}
