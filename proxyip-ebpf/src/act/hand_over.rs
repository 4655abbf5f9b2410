//! Makes the kernel build the socket: the last step of the accept hand-off.
//!
//! The first segment is cut down to a bare ACK behind the header and becomes the handshake's last segment. A clone of
//! the unmodified segment follows it. TCP trims the header from the clone as data already received. No payload byte
//! is moved, so GSO, paged data and checksum state need no care.

use proxyip_common::{
    cookie,
    counter::{Counter, DropReason},
};

use crate::{
    act::rewrite::{Start, trim},
    decision::Decision,
    frame::{
        options,
        segment::{Segment, classes},
        tcp::{Seq, flags},
    },
    header::intact::is_intact,
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

/// Makes the connection from the first segment after its header has been read. `memory.handshake` holds what its cookie
/// held.
///
/// Socket first, then payload, then the bare ACK: if any of them fails, the skb is dropped. The request socket goes
/// with it, and nobody has seen that yet.
///
/// # Errors
/// What to do with the segment instead.
#[inline(always)]
pub fn build(ctx: &TcContext, segment: &Segment, memory: &Memory) -> Result<(), Decision> {
    if !options::read(ctx, segment, &memory.options) {
        return Err(Decision::Refuse(DropReason::TrimFailed));
    }
    let mut attributes = RequestAttributes::default();
    if !fill(&mut attributes, segment, memory) {
        return Err(Decision::Refuse(DropReason::AssignRefused));
    }
    if !assign(ctx, segment, &mut attributes) {
        return Err(Decision::Refuse(DropReason::AssignRefused));
    }
    if !queue_payload(ctx) {
        return Err(Decision::Hold(Counter::PayloadRetry));
    }
    let header = memory.record().length_of_header();
    let sequence = memory.handshake.get().stream().plus(header);
    if trim(ctx, segment, memory, Start { sequence, flags: flags::ACK }) {
        return Ok(());
    }
    Err(Decision::Refuse(DropReason::TrimFailed))
}

/// Gives the skb, and with it the connection, to the listening socket; false if that failed. Not inlined: the lookup's
/// argument needs no room on the stack of what follows.
#[inline(never)]
fn assign(ctx: &TcContext, segment: &Segment, attributes: &mut RequestAttributes) -> bool {
    match Socket::find(ctx, segment) {
        Some(socket) => socket.assign(ctx, attributes).is_ok(),
        None => false,
    }
}

/// Says what the two ends agreed on; false if the namespace's settings are not there. Not inlined: its numbers need no room on the stack of what follows.
#[inline(never)]
fn fill(attributes: &mut RequestAttributes, segment: &Segment, memory: &Memory) -> bool {
    let Some(settings) = settings() else { return false };
    let agreed = memory.handshake.get().agreed;
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
        attributes.ecn_ok = (timestamps.echo & cookie::ECN) as u8;
    }
    true
}

/// Why a segment was not introduced.
pub enum Failure {
    /// It is refused.
    Refused(DropReason),
    /// It is dropped, and the peer sends it again.
    Held(Counter),
}

/// Makes a bare ACK of the first segment of a translated connection, and queues the segment itself behind it. `stream` is the
/// number of the first byte.
///
/// # Errors
/// What could not be done.
#[inline(always)]
pub fn introduce(
    ctx: &TcContext,
    segment: &Segment,
    memory: &Memory,
    stream: Seq,
) -> Result<(), Failure> {
    // The bare ACK gets a new checksum, which TCP would believe.
    if !is_intact(ctx) {
        return Err(Failure::Refused(DropReason::Checksum));
    }
    if !options::read(ctx, segment, &memory.options) {
        return Err(Failure::Refused(DropReason::TrimFailed));
    }
    if !queue_payload(ctx) {
        return Err(Failure::Held(Counter::PayloadRetry));
    }
    if trim(ctx, segment, memory, Start { sequence: stream, flags: flags::ACK }) {
        return Ok(());
    }
    Err(Failure::Refused(DropReason::TrimFailed))
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
