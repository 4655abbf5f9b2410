//! The accept hand-off: the handshake without a socket, then a socket that starts behind the header.
//!
//! 1. A SYN is answered with a keyed cookie ([`crate::decide::syn`]); nothing is remembered.
//! 2. The handshake's bare ACK is dropped.
//! 3. The first segment with payload brings the header. It is cut down to a bare ACK whose sequence number
//!    lies behind the header, and given to the kernel, which makes the socket from it ([`crate::act::hand_over`]).

use proxyip_common::{
    cookie::{Check, FlowHash},
    counter::{Counter, DropReason},
    flow::HandOff,
    settings::{HandOffChoice, ListenerSettings},
};

use crate::{
    decide::{acknowledge::acknowledge, split},
    decision::Decision,
    frame::{segment::Segment, tcp::flags},
    kernel::{clock::now, programs::TcContext},
    state::{
        flows::{FLOWS, set_flow},
        listeners::{LISTENERS, choice},
        memory::Memory,
        namespace::settings,
        parts,
        policies::{self, trusted},
        route::is_local,
        secrets::flow_hash,
    },
};

/// A segment without SYN or RST for a socket that listens.
#[inline(never)]
pub fn on_ack(ctx: &TcContext, segment: &Segment, memory: &Memory) -> Decision {
    // Tags are short and can be guessed: a cookie counts only from where one can have been sent to.
    if !trusted(segment) {
        return Decision::Pass;
    }
    let cookie = segment.acknowledgment.wrapping_sub(1);
    let Some(hash) = flow_hash(segment, Some(cookie)) else {
        return Decision::Refuse(DropReason::FlowTable);
    };
    let check = hash.check(cookie, segment.sequence.wrapping_sub(1));
    memory.hand_off.set(HandOff::Accept as u8);
    match check {
        // The cookie's life has ended in the middle of the header.
        Check::Foreign
            if parts::find(segment, memory) && parts::is_part(segment.sequence, memory) =>
        {
            split::refuse(segment, memory, DropReason::HeaderTimeout)
        }
        Check::Foreign => on_foreign(ctx, segment),
        // Must come first: the 15-bit tag matches 1 in 32,768 later segments by accident.
        _ if goes_on(segment, memory, &hash, cookie) => on_part(segment, memory),
        Check::Valid(_) if segment.payload == 0 && segment.has(flags::FIN) => {
            Decision::Reset(Counter::FinBeforeHeader)
        }
        Check::Valid(_) if segment.payload == 0 => Decision::Hold(Counter::AckDeferred),
        // A cookie of the kernel's own that looks like ours; those of ours that a change of the configuration has left
        // in flight are valid.
        Check::SameFlow if !issues_cookies(segment) => on_foreign(ctx, segment),
        Check::SameFlow => on_early(ctx, segment, memory, &hash, cookie),
        Check::Valid(_) if stack_refuses(segment) => Decision::Refuse(DropReason::StackRefuses),
        // The same segment twice in one batch.
        Check::Valid(_) if is_under_way(segment, memory) => Decision::Requeue,
        Check::Valid(agreed) => {
            memory.agreed.set(agreed);
            memory.unscaled.set(agreed.window_scale.is_none());
            memory.isn.set(segment.sequence.wrapping_sub(1));
            memory.header.kept.set(0);
            memory.header.skipped.set(0);
            Decision::First
        }
    }
}

/// Whether the flow has begun a header with this cookie, and the segment is not its first once more.
#[inline(always)]
fn goes_on(segment: &Segment, memory: &Memory, hash: &FlowHash, cookie: u32) -> bool {
    const ACCEPT: u8 = HandOff::Accept as u8;
    let found = parts::find(segment, memory) && memory.hand_off.get() == ACCEPT;
    memory.hand_off.set(ACCEPT);
    let first = segment.sequence == memory.isn.get().wrapping_add(1) && segment.payload != 0;
    if !found || first && !memory.refused.get() {
        return false;
    }
    let Check::Valid(agreed) = hash.check(cookie, memory.isn.get()) else { return false };
    memory.agreed.set(agreed);
    memory.unscaled.set(agreed.window_scale.is_none());
    true
}

/// A segment of a handshake that has begun a header.
#[inline(always)]
fn on_part(segment: &Segment, memory: &Memory) -> Decision {
    if is_under_way(segment, memory) {
        return Decision::Requeue;
    }
    if stack_refuses(segment) {
        return split::refuse(segment, memory, DropReason::StackRefuses);
    }
    Decision::Part
}

/// A segment of a handshake in flight, but not its first: a keep-alive probe, or one that overtook the header.
#[inline(always)]
fn on_early(
    ctx: &TcContext,
    segment: &Segment,
    memory: &Memory,
    hash: &FlowHash,
    cookie: u32,
) -> Decision {
    // The flow tag has 8 bits: 1 in 256 forwarded segments matches it, so ask the routing table.
    if !is_local(ctx, segment) {
        return Decision::PassCounted(Counter::CookieForeign);
    }
    if is_under_way(segment, memory) {
        return Decision::Requeue;
    }
    // RFC 9293 §3.8.4: a probe's sequence number is one below the next, with or without a byte.
    let Check::Valid(agreed) = hash.check(cookie, segment.sequence) else {
        return Decision::Hold(Counter::OutOfOrder);
    };
    if segment.payload > 1 || segment.has(flags::FIN) {
        return Decision::Hold(Counter::OutOfOrder);
    }
    memory.unscaled.set(agreed.window_scale.is_none());
    memory.isn.set(segment.sequence);
    memory.acknowledged.set(0);
    acknowledge(ctx, segment, memory, Counter::KeepAliveAnswered)
}

/// Whether the flow was handed over a moment ago and its socket does not exist yet. A device that delivers
/// segments in batches shows them all to this program before TCP sees the first.
#[inline(always)]
fn is_under_way(segment: &Segment, memory: &Memory) -> bool {
    /// A batch is through long before; a connection that TCP refused is not waited for.
    const MOMENT_NS: u64 = 100_000_000;
    set_flow(segment, memory);
    memory.handed_over_before.set(false);
    let Some(record) = FLOWS.get_ptr(memory.key()) else {
        return false;
    };
    // SAFETY: an element of the map; at worst it is another flow's by now, whose times are as good.
    let (handed_over, established) =
        unsafe { ((*record).handed_over_ns, (*record).established_ns) };
    let age_ns = now().wrapping_sub(handed_over);
    // One that is older than a cookie can be was another connection's.
    let life_ns = settings().map_or(0, |settings| 2 * settings.epoch_ns);
    memory.handed_over_before.set(established == 0 && age_ns < life_ns);
    established == 0 && age_ns < MOMENT_NS
}

/// Whether the listener's new connections may get a cookie.
#[inline(always)]
fn issues_cookies(segment: &Segment) -> bool {
    const AUTO: u8 = HandOffChoice::Auto as u8;
    const ACCEPT: u8 = HandOffChoice::Accept as u8;
    matches!(choice(segment), AUTO | ACCEPT)
}

/// Whether nothing would come of the connection; its next attempt is translated.
#[inline(always)]
fn stack_refuses(segment: &Segment) -> bool {
    LISTENERS.get(segment.listener.into()).is_some_and(|listener| {
        listener.has(ListenerSettings::STACK_REFUSES)
            && listener.hand_off == HandOffChoice::Auto as u8
    })
}

/// A trusted source's segment for a listening socket that belongs to no known handshake. The kernel may have sent a
/// SYN cookie for its handshake and forgotten it.
#[inline(always)]
pub fn on_foreign(ctx: &TcContext, segment: &Segment) -> Decision {
    if policies::may_leave(segment) || !is_local(ctx, segment) {
        return Decision::PassCounted(Counter::CookieForeign);
    }
    Decision::Reset(Counter::CookieForeign)
}
