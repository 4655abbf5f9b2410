//! The translate hand-off: the kernel does its own handshake, and sequence numbers are translated.
//!
//! 1. A SYN passes, and its sequence number is remembered.
//! 2. The handshake's bare ACK is dropped, so that the connection is not established yet.
//! 3. The first segment with payload brings the header. From now on each segment's sequence number is lowered by the
//!    header's length, and acknowledgments are raised by it ([`crate::egress`]). The header's bytes then lie
//!    before what TCP expects, and TCP trims them as data already received.

use proxyip_common::{
    counter::{Counter, DropReason, Reason, per_listener},
    flow::{FlowRecord, HandOff, Handshake, Translation},
    settings::NamespaceSettings,
};

use crate::{
    acknowledge::acknowledge,
    count::count_listener,
    egress::replace,
    event::now,
    handover::trim,
    judge::{Verdict, forget, identify, settings},
    kernel::{bindings::BPF_ANY, programs::TcContext},
    maps::{HANDSHAKES, Scratch, TRANSLATIONS, in_use, is_used, set_used},
    observe::{self, hides_header},
    options,
    packet::{Segment, Shape, flags, raw},
    policy::{self, trusted},
    reply::TCP_CHECKSUM,
    socket::State,
    split,
};

/// What the table of translated connections says of a segment.
pub enum Known {
    Nothing,
    /// Its connection was in `TIME_WAIT` when a SYN came; its shift.
    Superseded(u16),
    /// It is a first segment that was queued behind a bare ACK, which has not established the connection.
    Queued,
    Living(Verdict),
}

/// Whether any connection has ever been expected to be translated or observed.
#[inline(always)]
pub fn is_in_use() -> bool {
    is_used(in_use::TRANSLATE)
}

/// Looks the segment's connection up.
#[inline(never)]
pub fn find(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Known {
    if segment.has(flags::SYN) || !is_in_use() {
        return Known::Nothing;
    }
    identify(segment, scratch);
    let Some(entry) = TRANSLATIONS.get_ptr_mut(&scratch.event.key) else {
        return Known::Nothing;
    };
    // SAFETY: an element of the map; at worst it is another connection's by now, whose time is set.
    let entry = unsafe { &mut *entry };
    if entry.flags & Translation::DENIED != 0 {
        policy::mark(ctx, segment);
    }
    if entry.flags & Translation::SUPERSEDED != 0 {
        entry.seen_ns = now();
        return Known::Superseded(entry.shift);
    }
    if segment.has(flags::RST) {
        return Known::Living(judge_reset(segment, scratch, entry));
    }
    if matches!(entry.state, Translation::ESTABLISHED | Translation::RESET) {
        return Known::Living(Verdict::Translate(entry.shift));
    }
    entry.seen_ns = now();
    // Holds a part of the header, so that TCP would find nothing new at its beginning.
    let ahead = segment.sequence.wrapping_sub(entry.isn.wrapping_add(1));
    let first = ahead < entry.shift.into() && segment.payload != 0;
    scratch.isn = entry.isn;
    scratch.acknowledged = entry.shift.into();
    if entry.state != Translation::OPENING || !first || segment.shape != Shape::Plain {
        return Known::Living(Verdict::Translate(entry.shift));
    }
    // Not remembered any more: better too small a window than too large.
    scratch.unscaled = false;
    if !scratch.clone {
        return Known::Living(Verdict::Introduce);
    }
    Known::Queued
}

/// A RST for a connection that is translated.
#[inline(always)]
fn judge_reset(segment: &Segment, scratch: &mut Scratch, entry: &mut Translation) -> Verdict {
    /// As large as one is before the socket exists.
    const WINDOW: u32 = 65_536;
    let shift = entry.shift;
    let ahead = segment.sequence.wrapping_sub(entry.isn.wrapping_add(1));
    match entry.state {
        // Of one within the window; the kernel looks more closely (RFC 5961 §3.2).
        Translation::OPENING if ahead > WINDOW => {}
        Translation::OPENING => {
            let _ = TRANSLATIONS.remove(&scratch.event.key);
        }
        Translation::ESTABLISHED | Translation::RESET => {
            entry.state = Translation::RESET;
            entry.seen_ns = now();
        }
        _ => {}
    }
    Verdict::Translate(shift)
}

/// A segment of a connection that may have been replaced since it was in `TIME_WAIT`.
#[inline(never)]
pub fn judge_superseded(scratch: &mut Scratch, state: State, shift: u16) -> Option<Verdict> {
    match state {
        State::TimeWait => Some(Verdict::Translate(shift)),
        State::Connected => {
            // By one that is not translated.
            let _ = TRANSLATIONS.remove(&scratch.event.key);
            None
        }
        State::Request | State::Listening => None,
    }
}

/// The first segment of a connection that the bare ACK before it did not establish: the peer sends it again. If a
/// request socket is still there, the stack may only be waiting for more than a header (`TCP_DEFER_ACCEPT`), or
/// for room; the header need not come again.
#[inline(always)]
pub fn judge_queued(
    ctx: &TcContext,
    segment: &Segment,
    scratch: &mut Scratch,
    state: State,
) -> Verdict {
    if state == State::Request {
        return acknowledge(ctx, segment, scratch, Counter::HeaderAcknowledged);
    }
    Verdict::drop(DropReason::PayloadWithoutSocket)
}

/// Clears away what earlier connections of this 4-tuple have left, before a SYN. What is in `TIME_WAIT` is still
/// translated until the kernel has taken the SYN.
#[inline(always)]
pub fn make_way(segment: &Segment, scratch: &mut Scratch, state: State) {
    split::make_way(segment, scratch);
    if !is_in_use() || !matches!(state, State::Listening | State::TimeWait) {
        return;
    }
    identify(segment, scratch);
    let _ = HANDSHAKES.remove(&scratch.event.key);
    if state == State::Listening {
        let _ = TRANSLATIONS.remove(&scratch.event.key);
    } else if let Some(entry) = TRANSLATIONS.get_ptr_mut(&scratch.event.key) {
        // SAFETY: an element of the map, of a connection that is over.
        unsafe { (*entry).flags |= Translation::SUPERSEDED };
    }
}

/// Lets a SYN pass and remembers it, with the hand-off and its reason that are in `scratch`.
#[inline(never)]
pub fn expect(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Verdict {
    forget(segment, scratch);
    if !options::read(ctx, segment, scratch) {
        return Verdict::drop(DropReason::TranslateFailed);
    }
    let translate = scratch.hand_off == HandOff::Translate as u8;
    if translate && scratch.received.signed {
        // A signature covers the sequence numbers. A kernel that does not know it ignores it, so it must not pass.
        return Verdict::reset(DropReason::Signed);
    }
    let handshake = Handshake {
        since_ns: now(),
        isn: segment.sequence,
        hand_off: scratch.hand_off,
        reason: scratch.reason,
        unscaled: u8::from(scratch.received.window_scale.is_none() || !scales()),
        reserved: 0,
    };
    set_used(in_use::TRANSLATE);
    if HANDSHAKES.insert(&scratch.event.key, &handshake, BPF_ANY.into()).is_err() {
        return Verdict::drop(DropReason::FlowTable);
    }
    if !options::blank(ctx, segment, scratch) || !cut_payload(ctx, segment, scratch) {
        return Verdict::drop(DropReason::TranslateFailed);
    }
    Verdict::Pass
}

/// Whether this namespace's stack scales windows.
#[inline(always)]
fn scales() -> bool {
    settings().is_some_and(|settings| settings.has(NamespaceSettings::WINDOW_SCALING))
}

/// Cuts off what a SYN carries: with TCP Fast Open the application would get it at once. It comes again, behind the
/// handshake. False if that failed.
#[inline(always)]
fn cut_payload(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> bool {
    segment.payload == 0 || trim(ctx, segment, scratch, segment.sequence, segment.flags)
}

/// A SYN whose handshake is under way.
#[inline(never)]
pub fn judge_repeated_syn(segment: &Segment, scratch: &mut Scratch) -> Verdict {
    if recall(segment, scratch) && scratch.isn == segment.sequence {
        return Verdict::Pass;
    }
    Verdict::LeaveToKernel(Reason::LivingSocket)
}

/// A segment that finds the request socket of a handshake.
#[inline(never)]
pub fn judge_request(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Verdict {
    let (trusted, recalled) = (trusted(segment), recall(segment, scratch));
    if recalled {
        return judge_remembered(ctx, segment, scratch, trusted);
    }
    if !trusted || policy::may_leave(segment) {
        return Verdict::Pass;
    }
    Verdict::reset_both(DropReason::HandshakeUnknown, scratch, segment.sequence)
}

/// Whether a segment that finds the listening socket is of a handshake that the kernel did: it has no request
/// socket because it sent a SYN cookie, or because it has given the handshake up.
#[inline(never)]
pub fn is_forgotten(segment: &Segment, scratch: &mut Scratch) -> bool {
    is_in_use() && recall(segment, scratch)
}

/// A segment of a handshake that is remembered, and that found no request socket.
#[inline(always)]
pub fn judge_forgotten(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Verdict {
    judge_remembered(ctx, segment, scratch, trusted(segment))
}

/// Passed on, the segment of a source that is trusted no longer would bring its header to the application, unjudged.
#[inline(always)]
fn judge_remembered(
    ctx: &TcContext,
    segment: &Segment,
    scratch: &mut Scratch,
    trusted: bool,
) -> Verdict {
    if trusted {
        return judge_waiting(ctx, segment, scratch);
    }
    let expected = scratch.isn.wrapping_add(1);
    Verdict::reset_both(DropReason::TrustWithdrawn, scratch, expected)
}

/// A segment of a handshake that awaits the header; what was remembered of it is in `scratch`.
#[inline(never)]
pub fn judge_waiting(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Verdict {
    const TRANSLATE: u8 = HandOff::Translate as u8;
    const OBSERVE: u8 = HandOff::Observe as u8;
    let ahead = segment.sequence.wrapping_sub(scratch.isn.wrapping_add(1)).cast_signed();
    let hand_off = scratch.hand_off;
    match hand_off {
        OBSERVE => match (ahead, segment.payload) {
            (0, 1..) => Verdict::First,
            (1.., 1..) if has_begun(segment, scratch) => observe::judge_part(segment, scratch),
            // The application must not see a connection whose client is still to be judged.
            _ if is_silent(segment, ahead) && policy::judges(segment) => {
                judge_silent(ctx, segment, scratch, ahead)
            }
            // Whatever lies ahead acknowledges the handshake too: a FIN, or the answer to a SYN-ACK that is repeated.
            _ if ahead > 0 && policy::judges(segment) => Verdict::Hold(Counter::OutOfOrder),
            _ if hides_header(segment, ahead) => Verdict::Hold(Counter::OutOfOrder),
            _ => Verdict::Pass,
        },
        TRANSLATE => match (ahead, segment.payload) {
            (0, 0) if has_begun(segment, scratch) => Verdict::Part,
            (0, 1..) => Verdict::First,
            _ if is_silent(segment, ahead) => judge_silent(ctx, segment, scratch, ahead),
            _ if has_begun(segment, scratch) => Verdict::Part,
            _ => Verdict::Hold(Counter::OutOfOrder),
        },
        _ => Verdict::Pass,
    }
}

/// Whether a segment that is `ahead` of the payload's beginning brings nothing new: the handshake's bare ACK, the end, or a
/// keep-alive probe (RFC 9293 §3.8.4), which lies one behind.
#[inline(always)]
fn is_silent(segment: &Segment, ahead: i32) -> bool {
    match ahead {
        0 => segment.payload == 0,
        -1 => segment.payload <= 1 && !segment.has(flags::FIN),
        _ => false,
    }
}

/// Judges such a segment before the header has begun.
#[inline(always)]
fn judge_silent(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch, ahead: i32) -> Verdict {
    if ahead < 0 {
        return acknowledge(ctx, segment, scratch, Counter::KeepAliveAnswered);
    }
    if segment.has(flags::FIN) {
        return Verdict::Reset(Counter::FinBeforeHeader);
    }
    Verdict::Hold(Counter::AckDeferred)
}

/// Whether the handshake that is in `scratch` has begun a header.
#[inline(always)]
fn has_begun(segment: &Segment, scratch: &mut Scratch) -> bool {
    let (isn, hand_off) = (scratch.isn, scratch.hand_off);
    let found = split::find(segment, scratch) && scratch.isn == isn && scratch.hand_off == hand_off;
    (scratch.isn, scratch.hand_off) = (isn, hand_off);
    found
}

/// Puts into `scratch` what is remembered of the segment's SYN, and its flow; false if that is nothing.
#[inline(always)]
fn recall(segment: &Segment, scratch: &mut Scratch) -> bool {
    identify(segment, scratch);
    let Some(handshake) = HANDSHAKES.get_ptr(&scratch.event.key) else { return false };
    // SAFETY: an element of the map; at worst it is another handshake's by now, whose numbers do not fit.
    unsafe {
        scratch.isn = (*handshake).isn;
        scratch.hand_off = (*handshake).hand_off;
        scratch.reason = (*handshake).reason;
        scratch.unscaled = (*handshake).unscaled != 0;
    }
    scratch.acknowledged = 0;
    scratch.kept = 0;
    scratch.skipped = 0;
    true
}

/// Lowers the sequence number of a segment that comes in; false if that failed.
#[inline(always)]
pub fn lower(ctx: &TcContext, segment: &Segment, shift: u16) -> bool {
    const SEQUENCE: usize = 4;
    let new = segment.sequence.wrapping_sub(shift.into());
    let (at, checksum) = (segment.tcp + SEQUENCE, segment.tcp + TCP_CHECKSUM);
    replace(raw(ctx), at, checksum, segment.sequence.to_be(), new.to_be())
}

/// Begins to translate: the header has been read, and the flow is in `scratch.event`.
#[inline(always)]
pub fn begin(segment: &Segment, scratch: &mut Scratch, state: State) -> Verdict {
    let shift = scratch.event.record.header_length;
    let entry = Translation {
        seen_ns: now(),
        isn: scratch.isn,
        shift,
        state: Translation::OPENING,
        flags: if scratch.event.record.has(FlowRecord::DENIED) { Translation::DENIED } else { 0 },
    };
    if TRANSLATIONS.insert(&scratch.event.key, &entry, BPF_ANY.into()).is_err() {
        let expected = scratch.isn.wrapping_add(1);
        return Verdict::reset_both(DropReason::TranslationTable, scratch, expected);
    }
    let _ = HANDSHAKES.remove(&scratch.event.key);
    count_listener(segment.listener, per_listener::TRANSLATE + u32::from(scratch.reason));
    // Nothing new to TCP would not establish the connection, and a SYN cookie is compared with the very
    // sequence number of the SYN.
    let end = segment.sequence.wrapping_sub(scratch.isn.wrapping_add(1)) as usize + segment.payload;
    if end == usize::from(shift) || state == State::Listening {
        return Verdict::Introduce;
    }
    Verdict::Translate(shift)
}
