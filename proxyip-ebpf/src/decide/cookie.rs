//! The accept hand-off: the handshake without a socket, then a socket that starts behind the header.
//!
//! 1. A SYN is answered with a keyed cookie ([`crate::decide::syn`]); nothing is remembered.
//! 2. The handshake's bare ACK is dropped.
//! 3. The first segment with payload brings the header. It is cut down to a bare ACK whose sequence number
//!    lies behind the header. The kernel makes the socket from it ([`crate::act::hand_over`]).

use proxyip_common::{
    cookie::{Agreed, Check, FlowHash},
    counter::{Counter, DropReason},
    settings::HandOffChoice,
};

use crate::{
    decide::{split, step::Step},
    decision::{Acknowledgment, Decision},
    frame::{
        segment::Segment,
        tcp::{Seq, flags},
    },
    header::intact::is_intact,
    kernel::{
        clock::now,
        packet::{Buffered, Packet},
    },
    state::{
        ended,
        fallbacks::stack_refuses,
        floods,
        flows::{FLOWS, set_flow},
        handshakes::{ACCEPT, Handshake},
        listeners::choice,
        memory::Memory,
        namespace::settings,
        parts::{self, Begun},
        policies::{self, trusted},
        route::is_local,
        secrets::flow_hash,
    },
};

/// A segment without SYN or RST for a socket that listens.
#[inline(never)]
pub fn on_ack(packet: &impl Buffered, segment: &Segment, memory: &Memory) -> Step {
    // Tags are short and can be guessed: a cookie counts only from where one can have been sent to.
    if !trusted(segment) {
        return Step::Done(Decision::Pass);
    }
    if !is_intact(packet) {
        return Step::Done(Decision::Refuse(DropReason::Checksum));
    }
    let cookie = segment.acknowledgment.minus(1);
    let Some(hash) = flow_hash(segment, Some(cookie.0)) else {
        return Step::Done(Decision::Refuse(DropReason::FlowTable));
    };
    let isn = segment.sequence.syn();
    let check = hash.check(cookie.0, isn.0);
    let begun = parts::look_up(segment, memory);
    if let Check::Foreign = check {
        return Step::Done(on_foreign_ack(packet, segment, memory, begun));
    }
    // Must come first: the 15-bit tag matches 1 in 32,768 later segments by accident.
    if let Some(begun) = begun
        && let Some(agreed) = goes_on(segment, &hash, begun)
    {
        return on_part(segment, memory, handshake(begun.isn, agreed), begun);
    }
    let Check::Valid(agreed) = check else {
        return Step::Done(on_same_flow(packet, segment, memory, &hash));
    };
    if segment.payload == 0 {
        return Step::Done(if segment.has(flags::FIN) {
            Decision::Reset(Counter::FinBeforeHeader)
        } else {
            Decision::Hold(Counter::AckDeferred)
        });
    }
    if stack_refuses(segment) {
        memory.settle(Handshake::new(isn, ACCEPT));
        return Step::Done(Decision::Refuse(DropReason::StackRefuses));
    }
    match handed_over(segment, memory) {
        // The same segment twice in one batch.
        HandedOver::JustNow => Step::Done(Decision::Requeue),
        _ if ended::began_with(memory.key(), segment) => Step::Done(on_foreign(packet, segment)),
        before => Step::First(Handshake {
            handed_over_before: before == HandedOver::Before,
            ..handshake(isn, agreed)
        }),
    }
}

/// What a segment without payload and FIN acknowledges.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Acknowledged {
    /// The cookie of its own handshake: nothing in it is new.
    Handshake,
    /// Nothing that a cookie of its flow was.
    Foreign,
    /// One must know more.
    Unknown,
}

/// What a segment without payload and FIN acknowledges.
#[inline(never)]
pub fn acknowledged(segment: &Segment) -> Acknowledged {
    let cookie = segment.acknowledgment.minus(1);
    let hash = flow_hash(segment, Some(cookie.0));
    match hash.map(|hash| hash.check(cookie.0, segment.sequence.syn().0)) {
        Some(Check::Valid(_)) => Acknowledged::Handshake,
        Some(Check::Foreign) => Acknowledged::Foreign,
        Some(Check::SameFlow) | None => Acknowledged::Unknown,
    }
}

/// A handshake with a cookie.
#[inline(always)]
fn handshake(isn: Seq, agreed: Agreed) -> Handshake {
    let unscaled = agreed.window_scale.is_none();
    Handshake { unscaled, agreed, ..Handshake::new(isn, ACCEPT) }
}

/// The options that the two ends agreed on, if the segment continues a header that began with this cookie.
/// `None` for a retransmission of the first segment.
#[inline(always)]
fn goes_on(segment: &Segment, hash: &FlowHash, begun: Begun) -> Option<Agreed> {
    let first = segment.sequence == begun.isn.stream() && segment.payload != 0;
    if begun.hand_off() != ACCEPT || first && !(begun.is_reset() || begun.is_dropped()) {
        return None;
    }
    match hash.check(segment.acknowledgment.minus(1).0, begun.isn.0) {
        Check::Valid(agreed) => Some(agreed),
        Check::SameFlow | Check::Foreign => None,
    }
}

/// A segment of a handshake that has begun a header.
#[inline(always)]
fn on_part(segment: &Segment, memory: &Memory, handshake: Handshake, begun: Begun) -> Step {
    let handed_over_before = match handed_over(segment, memory) {
        HandedOver::JustNow => return Step::Done(Decision::Requeue),
        before => before == HandedOver::Before,
    };
    if stack_refuses(segment) {
        memory.settle(handshake);
        return Step::Done(split::refuse(segment, memory, DropReason::StackRefuses));
    }
    Step::part(Handshake { handed_over_before, ..handshake }, begun)
}

/// A segment whose acknowledgment number is no cookie of its flow.
#[inline(always)]
fn on_foreign_ack(
    packet: &impl Packet,
    segment: &Segment,
    memory: &Memory,
    begun: Option<Begun>,
) -> Decision {
    match begun {
        // The cookie's life has ended in the middle of the header.
        Some(begun) if begun.holds(segment.sequence) => {
            memory.settle(Handshake::new(begun.isn, begun.hand_off()));
            split::refuse(segment, memory, DropReason::HeaderTimeout)
        }
        _ => on_foreign(packet, segment),
    }
}

/// A segment of a handshake in flight, but not its first: a keep-alive probe, or one that overtook the header.
#[inline(always)]
fn on_same_flow(
    packet: &impl Packet,
    segment: &Segment,
    memory: &Memory,
    hash: &FlowHash,
) -> Decision {
    // A cookie of the kernel's own that looks like ours; those of ours that a change of the configuration has left
    // in flight are valid.
    if !issues_cookies(segment) {
        return on_foreign(packet, segment);
    }
    // The flow tag has 8 bits: 1 in 256 forwarded segments matches it, so ask the routing table.
    if !is_local(packet, segment) {
        return Decision::PassCounted(Counter::CookieForeign);
    }
    if handed_over(segment, memory) == HandedOver::JustNow {
        return Decision::Requeue;
    }
    if ended::has(memory.key(), segment) {
        return on_foreign(packet, segment);
    }
    // RFC 9293 §3.8.4: a probe's sequence number is one below the next, with or without a byte.
    let cookie = segment.acknowledgment.minus(1);
    let Check::Valid(agreed) = hash.check(cookie.0, segment.sequence.0) else {
        return Decision::Hold(Counter::OutOfOrder);
    };
    if segment.payload > 1 || segment.has(flags::FIN) {
        return Decision::Hold(Counter::OutOfOrder);
    }
    let upto = segment.sequence.stream();
    let unscaled = agreed.window_scale.is_none();
    Decision::acknowledge(Counter::KeepAliveAnswered, Acknowledgment { upto, unscaled })
}

/// Whether a flow was handed over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HandedOver {
    /// No, or it is established since.
    No,
    /// Yes, and TCP did not take it.
    Before,
    /// A moment ago, and its socket does not exist yet. A device that delivers segments in batches shows them all to this
    /// program before TCP sees the first.
    JustNow,
}

/// Whether the segment's flow was handed over. Leaves the flow in `memory.event`.
#[inline(always)]
fn handed_over(segment: &Segment, memory: &Memory) -> HandedOver {
    /// A batch is through long before; a connection that TCP refused is not waited for.
    const MOMENT_NS: u64 = 100_000_000;
    set_flow(segment, memory);
    let Some(record) = FLOWS.get_ptr(memory.key()) else { return HandedOver::No };
    // SAFETY: an element of the map; at worst it is another flow's by now, whose times are as good.
    let (handed_over, established) =
        unsafe { ((*record).handed_over_ns, (*record).established_ns) };
    if established != 0 {
        return HandedOver::No;
    }
    let age_ns = now().wrapping_sub(handed_over);
    if age_ns < MOMENT_NS {
        return HandedOver::JustNow;
    }
    // One that is older than a cookie can be was another connection's.
    let life_ns = settings().map_or(0, |settings| 2 * settings.epoch_ns);
    if age_ns < life_ns { HandedOver::Before } else { HandedOver::No }
}

/// Whether the listener's new connections may get a cookie.
#[inline(always)]
fn issues_cookies(segment: &Segment) -> bool {
    const AUTO: u8 = HandOffChoice::Auto as u8;
    const ACCEPT: u8 = HandOffChoice::Accept as u8;
    matches!(choice(segment), AUTO | ACCEPT)
}

/// A trusted source's segment for a listening socket that belongs to no known handshake. The kernel may have sent a
/// SYN cookie for its handshake and forgotten it.
#[inline(always)]
pub fn on_foreign(packet: &impl Packet, segment: &Segment) -> Decision {
    if !is_local(packet, segment) {
        return Decision::PassCounted(Counter::CookieForeign);
    }
    if !floods::may_answer() {
        return Decision::Hold(Counter::CookieForeignUnanswered);
    }
    if policies::may_leave(segment) {
        // The kernel answers, or knows its own cookie.
        return Decision::PassCounted(Counter::CookieForeign);
    }
    Decision::Reset(Counter::CookieForeign)
}
