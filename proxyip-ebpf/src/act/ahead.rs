//! Does what is decided before the kernel makes an skb.

use proxyip_common::counter::{Counter, DropReason};

use crate::{
    act::{
        answer::{compose, swap_addresses},
        report::log,
    },
    decision::Decision,
    frame::{
        ip::ETHERNET,
        reply::{IPV4_AT, IPV6_AT, Reply, put_checksum},
        segment::Segment,
    },
    kernel::{
        bindings::xdp_action::{self, XDP_DROP, XDP_PASS, XDP_TX},
        packet::Packet,
        programs::XdpContext,
        xdp::{ADDRESSES, XdpFrame},
    },
    state::{
        counters::{count, count_drop},
        memory::Memory,
    },
};

/// The shortest frame (IEEE 802.3 §4A.2.3.2.4), without its checksum. Not each device fills up what is sent back.
const SHORTEST: usize = 60;

/// Does what the decision says.
#[inline(always)]
#[expect(clippy::needless_pass_by_value, reason = "what is done is done once, as at TC")]
pub fn carry_out(
    (ctx, frame): (&XdpContext, &XdpFrame),
    segment: &Segment,
    memory: &Memory,
    decision: Decision,
) -> xdp_action::Type {
    let verdict = match &decision {
        Decision::Answer(_, reply) => answer(frame, segment, memory, reply),
        Decision::Hold(_) => XDP_DROP,
        // TC decides all else.
        _ => XDP_PASS,
    };
    match (verdict, &decision) {
        (XDP_TX, Decision::Answer(counter, _)) => {
            count(*counter);
            count(Counter::SynAnsweredAtXdp);
        }
        (XDP_DROP, Decision::Hold(counter)) => {
            count(*counter);
            count(match counter {
                Counter::AckDeferred => Counter::AckDeferredAtXdp,
                _ => Counter::CookieForeignUnansweredAtXdp,
            });
        }
        (XDP_DROP, _) => {
            count_drop(DropReason::ReplyFailed);
            return verdict;
        }
        _ => return verdict,
    }
    log(ctx, segment, &decision);
    verdict
}

/// Makes the frame the answer, its checksum complete: a device completes none of what is sent back.
#[inline(never)]
fn answer(frame: &XdpFrame, segment: &Segment, memory: &Memory, reply: &Reply) -> xdp_action::Type {
    // SAFETY: of this program's functions only those called here have it.
    let buffer = unsafe { memory.reply.get_mut() };
    let sums = compose(reply, segment, buffer);
    put_checksum(buffer, sums.checksum());
    let length = (ETHERNET + segment.ip_length() + sums.tcp_length).max(SHORTEST);
    let start = if segment.ipv6 { IPV6_AT } else { IPV4_AT };
    let behind = length - ETHERNET;
    if start + behind > buffer.0.len() || !frame.resize(length) {
        // Nothing has changed: TC answers.
        return XDP_PASS;
    }
    let at = buffer.0[start - ETHERNET..].as_mut_ptr();
    // SAFETY: 14 bytes lie before the IP header, and `start + behind` is within the buffer.
    let stored = unsafe {
        let loaded = frame.load_bytes(0, at, ADDRESSES);
        swap_addresses(at);
        loaded
            && frame.store_bytes(0, at, ADDRESSES)
            && frame.store_bytes(ETHERNET, at.add(ETHERNET), behind)
    };
    if stored { XDP_TX } else { XDP_DROP }
}
