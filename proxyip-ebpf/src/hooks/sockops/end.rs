//! What a socket says of its connection when it closes.

use proxyip_common::flow::{Ended, FlowKey, FlowRecord, HandOff};

use crate::{
    kernel::programs::SockOpsContext,
    state::{ended, events::Traffic},
};

// States of TCP (include/net/tcp_states.h).
pub(super) const TCP_FIN_WAIT2: u32 = 5;
const TCP_CLOSE_WAIT: u32 = 8;
pub(super) const TCP_LAST_ACK: u32 = 9;
const TCP_CLOSING: u32 = 11;

/// What a connection that has ended has carried.
#[inline(always)]
pub(super) fn traffic(ctx: &SockOpsContext, record: &FlowRecord) -> Traffic {
    // SAFETY: a field of the context.
    let total = unsafe { (*ctx.ops).bytes_received };
    // TCP counts a FIN as a byte; the last state tells which of the two were received and acknowledged.
    let (received, acknowledged) = match ctx.arg(0) {
        TCP_LAST_ACK | TCP_CLOSING => (1, 1),
        // Left by the peer's FIN, or at once if nobody has the socket any more.
        TCP_FIN_WAIT2 => (u64::from(total > record.received_at_fin_wait), 1),
        TCP_CLOSE_WAIT => (1, 0),
        _ => (0, 0),
    };
    // SAFETY: fields of the context.
    let bytes = unsafe {
        [total.saturating_sub(received), (*ctx.ops).bytes_acked.saturating_sub(acknowledged)]
    };
    // Under accept the first segment came twice: as a bare ACK and whole.
    let twice = u32::from(record.hand_off == HandOff::Accept as u8);
    // SAFETY: fields of the context.
    let packets = unsafe { [(*ctx.ops).segs_in.saturating_sub(twice), (*ctx.ops).segs_out] };
    Traffic { bytes, packets }
}

/// Remembers the connection's numbers, which the kernel programs would take for a handshake's as long as its cookie counts.
#[inline(always)]
pub(super) fn remember(ctx: &SockOpsContext, key: &FlowKey, record: &FlowRecord) {
    if record.hand_off != HandOff::Accept as u8 {
        return;
    }
    // SAFETY: fields of the context.
    let (received, sent, bytes) = unsafe {
        let ops = &*ctx.ops;
        (ops.rcv_nxt, ops.snd_nxt, [ops.bytes_received as u32, ops.bytes_acked as u32])
    };
    // SAFETY: a field of the context.
    let acknowledged = unsafe { (*ctx.ops).snd_una };
    // TCP has begun to count behind the header.
    let first = received.wrapping_sub(bytes[0]).wrapping_sub(record.length_of_header());
    ended::remember(
        key,
        Ended {
            isn: first.wrapping_sub(1),
            cookie: acknowledged.wrapping_sub(bytes[1]).wrapping_sub(1),
            received,
            sent,
        },
    );
}
