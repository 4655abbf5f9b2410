//! The translate hand-off: the kernel does its own handshake, and sequence numbers are translated.
//!
//! 1. A SYN passes, and its sequence number is remembered.
//! 2. The handshake's bare ACK is dropped, so that the connection is not established yet.
//! 3. The first segment with payload brings the header. From now on each segment's sequence number is lowered by the
//!    header's length, and acknowledgments are raised by it ([`crate::egress`]). The header's bytes then lie
//!    before what TCP expects, and TCP trims them as data already received.

use aya_ebpf::{bindings::BPF_ANY, programs::TcContext};
use proxyip_common::{
    counter::{Counter, DropReason, Reason, per_listener},
    flow::{HandOff, Handshake, Translation},
    settings::HandOffChoice,
};

use crate::{
    count::count_listener,
    egress::replace,
    event::now,
    handover::trim,
    judge::{Verdict, choice, forget, identify, settings, trusted},
    maps::{HANDSHAKES, Scratch, TRANSLATING, TRANSLATIONS},
    observe::hides_beginning,
    options,
    packet::{Segment, Shape, flags, raw},
    reply::{Reply, TCP_CHECKSUM, put_timestamps},
    socket::State,
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
    TRANSLATING.get(0).is_some_and(|used| *used != 0)
}

/// Looks the segment's connection up.
#[inline(never)]
pub fn find(segment: &Segment, scratch: &mut Scratch) -> Known {
    if segment.has(flags::SYN) || !is_in_use() {
        return Known::Nothing;
    }
    identify(segment, scratch);
    let Some(entry) = TRANSLATIONS.get_ptr_mut(&scratch.event.key) else {
        return Known::Nothing;
    };
    // SAFETY: an element of the map; at worst it is another connection's by now, whose time is set.
    let entry = unsafe { &mut *entry };
    if entry.superseded != 0 {
        entry.seen_ns = now();
        return Known::Superseded(entry.shift);
    }
    if segment.has(flags::RST) {
        return Known::Living(judge_reset(scratch, entry));
    }
    if matches!(entry.state, Translation::ESTABLISHED | Translation::RESET) {
        return Known::Living(Verdict::Translate(entry.shift));
    }
    entry.seen_ns = now();
    let first = segment.sequence == entry.isn.wrapping_add(1) && segment.payload != 0;
    if entry.state != Translation::OPENING || !first || segment.shape != Shape::Plain {
        return Known::Living(Verdict::Translate(entry.shift));
    }
    if !scratch.clone {
        return Known::Living(Verdict::Introduce);
    }
    scratch.isn = entry.isn;
    scratch.shift = entry.shift;
    Known::Queued
}

/// A RST for a connection that is translated.
#[inline(always)]
fn judge_reset(scratch: &mut Scratch, entry: &mut Translation) -> Verdict {
    let shift = entry.shift;
    match entry.state {
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
    if !is_in_use() || !matches!(state, State::Listening | State::TimeWait) {
        return;
    }
    identify(segment, scratch);
    let _ = HANDSHAKES.remove(&scratch.event.key);
    if state == State::Listening {
        let _ = TRANSLATIONS.remove(&scratch.event.key);
    } else if let Some(entry) = TRANSLATIONS.get_ptr_mut(&scratch.event.key) {
        // SAFETY: an element of the map, of a connection that is over.
        unsafe { (*entry).superseded = 1 };
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
    let signed = translate && scratch.received.signed;
    let handshake = Handshake {
        isn: segment.sequence,
        hand_off: if signed { Handshake::LEFT_TO_KERNEL } else { scratch.hand_off },
        reason: scratch.reason,
        reserved: [0; 2],
    };
    if let Some(used) = TRANSLATING.get_ptr_mut(0) {
        // SAFETY: the slot exists; every writer writes the same.
        unsafe {
            if *used == 0 {
                *used = 1;
            }
        }
    }
    if HANDSHAKES.insert(&scratch.event.key, &handshake, BPF_ANY.into()).is_err() {
        return Verdict::drop(DropReason::FlowTable);
    }
    if signed {
        return Verdict::LeaveToKernel(Reason::Signed);
    }
    if !options::blank(ctx, segment, scratch) || !cut_payload(ctx, segment, scratch) {
        return Verdict::drop(DropReason::TranslateFailed);
    }
    Verdict::Pass
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
    if !trusted(segment) {
        return Verdict::Pass;
    }
    if recall(segment, scratch) {
        return judge_waiting(ctx, segment, scratch);
    }
    if choice(segment) == HandOffChoice::Accept as u8 {
        return Verdict::Pass;
    }
    Verdict::reset_both(DropReason::HandshakeUnknown)
}

/// Whether a segment that finds the listening socket is of a handshake that the kernel did: it has no request
/// socket because it sent a SYN cookie, or because it has given the handshake up.
#[inline(never)]
pub fn is_forgotten(segment: &Segment, scratch: &mut Scratch) -> bool {
    is_in_use() && trusted(segment) && recall(segment, scratch)
}

/// A segment of a handshake that awaits the header; what was remembered of it is in `scratch`.
#[inline(never)]
pub fn judge_waiting(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Verdict {
    const TRANSLATE: u8 = HandOff::Translate as u8;
    const OBSERVE: u8 = HandOff::Observe as u8;
    let ahead = segment.sequence.wrapping_sub(scratch.isn.wrapping_add(1)).cast_signed();
    match scratch.hand_off {
        OBSERVE if ahead == 0 && segment.payload != 0 => Verdict::First,
        OBSERVE if hides_beginning(segment, ahead) => Verdict::Hold(Counter::OutOfOrder),
        TRANSLATE => match (ahead, segment.payload) {
            (0, 0) if segment.has(flags::FIN) => {
                Verdict::Answer(Counter::FinBeforeHeader, Reply::reset(segment))
            }
            (0, 0) => Verdict::Hold(Counter::AckDeferred),
            (0, _) => Verdict::First,
            // RFC 9293 §3.8.4: a keep-alive probe.
            (-1, 0 | 1) if !segment.has(flags::FIN) => {
                acknowledge(ctx, segment, scratch, Counter::KeepAliveAnswered)
            }
            _ => Verdict::Hold(Counter::OutOfOrder),
        },
        _ => Verdict::Pass,
    }
}

/// Acknowledges up to `scratch.isn + 1 + scratch.shift`, in the name of a socket that does not exist yet.
///
/// The kernel must not do it: its answer has a new timestamp, and when the peer echoes that, it is not the one
/// of the SYN-ACK, for which `tcp_check_req()` waits
/// (<https://elixir.bootlin.com/linux/v6.14/source/net/ipv4/tcp_minisocks.c>). So the timestamp stands still.
#[inline(never)]
fn acknowledge(
    ctx: &TcContext,
    segment: &Segment,
    scratch: &mut Scratch,
    counter: Counter,
) -> Verdict {
    let Some(settings) = settings() else { return Verdict::Hold(counter) };
    if !options::read(ctx, segment, scratch) {
        return Verdict::Hold(counter);
    }
    let acknowledgment = scratch.isn.wrapping_add(1).wrapping_add(scratch.shift.into());
    let mut reply = Reply::bare(segment.acknowledgment, acknowledgment, flags::ACK);
    // Whether windows are scaled is not known.
    reply.window = settings.window >> (settings.window_scale & 15);
    if let Some(received) = scratch.received.timestamps {
        put_timestamps(&mut scratch.frame, 0, [1, 1], (received.echo, received.value));
        reply.options_length = 12;
    }
    Verdict::Answer(counter, reply)
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
    }
    scratch.shift = 0;
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
        superseded: 0,
    };
    if TRANSLATIONS.insert(&scratch.event.key, &entry, BPF_ANY.into()).is_err() {
        return Verdict::reset_both(DropReason::TranslationTable);
    }
    let _ = HANDSHAKES.remove(&scratch.event.key);
    count_listener(segment.listener, per_listener::TRANSLATE + u32::from(scratch.reason));
    // Nothing new to TCP would not establish the connection, and a SYN cookie is compared with the very
    // sequence number of the SYN.
    if segment.payload == usize::from(shift) || state == State::Listening {
        return Verdict::Introduce;
    }
    Verdict::Translate(shift)
}
