//! The verdict on each segment that comes in for a guarded port.

use proxyip_common::{
    counter::{Counter, DropReason, Reason},
    flow::{FlowKey, FlowRecord, HandOff},
    settings::{HandOffChoice, ListenerSettings, NamespaceSettings},
};

use crate::{
    accept, first,
    handover::take_clone,
    kernel::programs::TcContext,
    maps::{FLOWS, LISTENERS, NAMESPACE, NAMESPACES, Scratch},
    observe,
    packet::{RETIRED_LISTENER, Segment, Shape, flags},
    platform::Platform,
    policy::{self, trusted},
    reply::Reply,
    route::is_local,
    socket::{Socket, State},
    split,
    syn::judge_syn,
    translate::{self, Known},
};

/// What becomes of a segment for a guarded port.
pub enum Verdict {
    /// Pass, as if proxyip were not there.
    Pass,
    /// Pass, and count.
    PassCounted(Counter),
    /// Pass: a connection that is not served, its header in place.
    LeaveToKernel(Reason),
    /// The header is in this segment; the hand-off is in `scratch.hand_off`.
    First,
    /// Goes on with a header that has begun; the hand-off is in `scratch.hand_off`.
    Part,
    /// Pass, the sequence number lowered by so much.
    Translate(u16),
    /// Give the kernel a bare ACK to make the socket from, and the segment behind it.
    Introduce,
    /// Drop without a word: the peer needs no answer, or sends it again.
    Hold(Counter),
    /// Receive again, behind the payload of the connection's first segment.
    Requeue,
    /// Send back, rewritten into an answer.
    Answer(Counter, Reply),
    /// Send back, rewritten into a RST.
    Reset(Counter),
    /// Refuse, count and report.
    Refuse(DropReason, Refusal),
}

/// How a segment is refused.
#[derive(Clone, Copy)]
pub enum Refusal {
    /// Dropped without an answer.
    Drop,
    /// Its connection is reset.
    Reset,
    /// Its connection is reset, and so is what the kernel has of it, which expects the sequence number
    /// `scratch.expected` next.
    ResetBoth,
}

impl Verdict {
    #[inline(always)]
    pub fn drop(reason: DropReason) -> Self {
        Self::Refuse(reason, Refusal::Drop)
    }

    #[inline(always)]
    pub fn reset(reason: DropReason) -> Self {
        Self::Refuse(reason, Refusal::Reset)
    }

    #[inline(always)]
    pub fn reset_both(reason: DropReason, scratch: &mut Scratch, expected: u32) -> Self {
        scratch.expected = expected;
        Self::Refuse(reason, Refusal::ResetBoth)
    }
}

/// Decides on one segment.
#[inline(always)]
pub fn judge<P: Platform>(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Verdict {
    scratch.clone = take_clone(ctx);
    scratch.hand_off = 0;
    let known = translate::find(ctx, segment, scratch);
    if let Known::Living(verdict) = known {
        return verdict;
    }
    let syn = match segment.flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN) {
        flags::SYN => true,
        set if set & (flags::SYN | flags::RST) == 0 && set & flags::ACK != 0 => false,
        set if set & flags::RST != 0 => {
            policy::mark_reset(ctx, segment);
            return split::judge_reset(segment, scratch);
        }
        _ => return Verdict::Pass,
    };
    let Some(socket) = Socket::find(ctx, segment) else {
        return if syn { Verdict::PassCounted(Counter::NoListener) } else { Verdict::Pass };
    };
    let state = socket.state();
    match known {
        Known::Queued => return translate::judge_queued(ctx, segment, scratch, state),
        Known::Superseded(shift) => {
            if let Some(verdict) = translate::judge_superseded(scratch, state, shift) {
                return verdict;
            }
        }
        Known::Nothing | Known::Living(_) => {}
    }
    let opening = matches!(state, State::Listening | State::Request);
    if syn || opening && segment.shape != Shape::Plain {
        scratch.mptcp = P::ACCEPT && state == State::Listening && socket.is_mptcp();
        drop(socket);
        scratch.state = state;
        return judge_opening::<P>(ctx, segment, scratch);
    }
    let mut verdict = judge_later::<P>(ctx, segment, scratch, &socket, state);
    if let Verdict::Part = verdict {
        verdict = split::judge(ctx, segment, scratch);
    }
    match verdict {
        Verdict::First => first::run::<P>(ctx, segment, scratch, &socket),
        verdict => verdict,
    }
}

/// A segment that neither begins a connection nor belongs to one that is translated.
#[inline(always)]
fn judge_later<P: Platform>(
    ctx: &TcContext,
    segment: &Segment,
    scratch: &mut Scratch,
    socket: &Socket,
    state: State,
) -> Verdict {
    if segment.listener == RETIRED_LISTENER {
        return Verdict::Pass;
    }
    match state {
        State::Connected => {
            policy::notice_header(ctx, segment);
            policy::mark_later(ctx, segment, socket);
            observe::judge(segment, scratch, socket)
        }
        // A rule has answered the bare ACK before it with a RST, which has ended the translation.
        State::Request | State::Listening if scratch.clone => {
            Verdict::drop(DropReason::PayloadWithoutSocket)
        }
        State::Request => translate::judge_request(ctx, segment, scratch),
        State::Listening if translate::is_forgotten(segment, scratch) => {
            translate::judge_forgotten(ctx, segment, scratch)
        }
        State::Listening if P::ACCEPT && !socket.is_mptcp() => {
            accept::judge_ack(ctx, segment, scratch)
        }
        State::Listening if trusted(segment) => judge_foreign(ctx, segment),
        State::Listening | State::TimeWait => Verdict::Pass,
    }
}

/// A trusted source's segment for a listening socket, which belongs to no handshake that is known: it may be one that
/// was forgotten, for which the kernel has sent a SYN cookie.
#[inline(always)]
pub fn judge_foreign(ctx: &TcContext, segment: &Segment) -> Verdict {
    if policy::may_leave(segment) || !is_local(ctx, segment) {
        return Verdict::PassCounted(Counter::CookieForeign);
    }
    Verdict::Reset(Counter::CookieForeign)
}

/// The first word of a connection, or a segment that hides what it is.
#[inline(never)]
fn judge_opening<P: Platform>(
    ctx: &TcContext,
    segment: &Segment,
    scratch: &mut Scratch,
) -> Verdict {
    let state = scratch.state;
    // No connection is made to a group; TCP drops its SYN.
    if is_group(segment) || !is_local(ctx, segment) {
        return Verdict::Pass;
    }
    if segment.shape == Shape::Plain {
        translate::make_way(segment, scratch, state);
    }
    if segment.listener == RETIRED_LISTENER {
        forget(segment, scratch);
        return Verdict::Pass;
    }
    // Once for both questions: the answers must be of one version.
    match policy::of(segment.listener) {
        // The listener is being removed: the peer sends its SYN again.
        None => return Verdict::drop(DropReason::SynAckFailed),
        Some(policy) if policy::trusts(policy, &segment.peer.0) => {}
        Some(policy) => return policy::judge_untrusted(policy),
    }
    match segment.shape {
        Shape::Plain => {}
        Shape::Fragment => return Verdict::drop(DropReason::Fragment),
        Shape::Extended => return Verdict::drop(DropReason::ExtensionHeader),
    }
    match state {
        State::Connected => return Verdict::LeaveToKernel(Reason::LivingSocket),
        State::Request => return translate::judge_repeated_syn(segment, scratch),
        State::Listening | State::TimeWait => {}
    }
    let choice = choice(segment);
    if choice == HandOffChoice::Observe as u8 {
        scratch.hand_off = HandOff::Observe as u8;
        scratch.reason = Reason::Configured as u8;
        return translate::expect(ctx, segment, scratch);
    }
    let reason = match unserved::<P>(segment, state, scratch.mptcp) {
        None => match judge_syn(ctx, segment, scratch) {
            Ok(verdict) => return verdict,
            Err(reason) => reason,
        },
        Some(reason) => reason,
    };
    if choice == HandOffChoice::Accept as u8 {
        // The application would get it whoever its client is.
        return if policy::judges(segment) {
            Verdict::reset(DropReason::Unjudged)
        } else {
            Verdict::LeaveToKernel(reason)
        };
    }
    scratch.hand_off = HandOff::Translate as u8;
    scratch.reason = reason as u8;
    translate::expect(ctx, segment, scratch)
}

/// Whether the segment is for a multicast group, or all of the network.
#[inline(always)]
fn is_group(segment: &Segment) -> bool {
    let [first, .., fourth] = segment.local.0.words();
    if segment.ipv6 { first.to_ne_bytes()[0] == 0xff } else { fourth.to_ne_bytes()[0] >= 224 }
}

/// Why the accept hand-off cannot serve a connection whose SYN it has not read yet.
#[inline(always)]
fn unserved<P: Platform>(segment: &Segment, state: State, mptcp: bool) -> Option<Reason> {
    let listener = LISTENERS.get(segment.listener.into());
    let (choice, flags) = listener.map_or((0, 0), |listener| (listener.hand_off, listener.flags));
    if choice == HandOffChoice::Translate as u8 {
        return Some(Reason::Configured);
    }
    if !P::ACCEPT {
        return Some(Reason::NoKfunc);
    }
    if mptcp {
        return Some(Reason::Mptcp);
    }
    if state == State::TimeWait {
        return Some(Reason::TimeWait);
    }
    let refuses = flags & ListenerSettings::STACK_REFUSES != 0;
    if refuses && choice == HandOffChoice::Auto as u8 { Some(Reason::StackRefuses) } else { None }
}

/// The listener's [`HandOffChoice`] as its value.
#[inline(always)]
pub fn choice(segment: &Segment) -> u8 {
    LISTENERS.get(segment.listener.into()).map_or(0, |listener| listener.hand_off)
}

/// The settings of the namespace that this instance of the program serves.
#[inline(always)]
pub fn settings() -> Option<&'static NamespaceSettings> {
    NAMESPACES.get(NAMESPACE.load())
}

/// Puts the segment's 4-tuple into `scratch.event`.
#[inline(always)]
pub fn name(segment: &Segment, scratch: &mut Scratch) {
    let namespace = settings().map_or(0, |settings| settings.cookie);
    scratch.event.key = FlowKey::new(namespace, segment.peer, segment.local);
}

/// Puts the segment's flow into `scratch.event`, where map operations and events take it from.
#[inline(always)]
pub fn identify(segment: &Segment, scratch: &mut Scratch) {
    name(segment, scratch);
    scratch.event.record = FlowRecord { listener: segment.listener, ..FlowRecord::EMPTY };
}

/// Forgets what the table may still hold of this 4-tuple, and leaves its key in `scratch.event`: a record
/// that TCP never made a socket from must not be found by a connection that the kernel makes itself.
#[inline(always)]
pub fn forget(segment: &Segment, scratch: &mut Scratch) {
    identify(segment, scratch);
    let _ = FLOWS.remove(&scratch.event.key);
}
