//! Segments of connections that are translated: see [`crate::decide::waiting`].

use proxyip_common::{
    counter::{Counter, DropReason, per_listener},
    flow::{FlowRecord, Translation},
};

use crate::{
    decide::policy,
    decision::{Acknowledgment, Decision},
    frame::{
        segment::{Segment, Shape},
        tcp::{Seq, flags},
    },
    kernel::{bindings::BPF_ANY, clock::now, packet::Buffered},
    state::{
        counters::ListenerCounters,
        flows::set_flow,
        handshakes::HANDSHAKES,
        memory::Memory,
        parts,
        sockets::State,
        translations::{TRANSLATIONS, is_in_use, replace},
    },
};

/// What the table of translated connections says of a segment.
pub enum Known {
    Nothing,
    /// Its connection was in `TIME_WAIT` when a SYN came; its shift.
    Superseded(u32),
    /// Our requeued first segment, which is to be acknowledged whole. The bare ACK before it did not establish the
    /// connection.
    Queued(Acknowledgment),
    Living(Decision),
}

/// Looks the segment's connection up.
#[inline(never)]
pub fn look_up(packet: &impl Buffered, segment: &Segment, memory: &Memory) -> Known {
    if segment.has(flags::SYN) || !is_in_use() {
        return Known::Nothing;
    }
    set_flow(segment, memory);
    let Some(entry) = TRANSLATIONS.get_ptr_mut(memory.key()) else {
        return Known::Nothing;
    };
    // SAFETY: an element of the map; at worst it is another connection's by now, whose time is set.
    let entry = unsafe { &mut *entry };
    if entry.flags & Translation::DENIED != 0 {
        policy::mark(packet, segment);
    }
    if entry.flags & Translation::SUPERSEDED != 0 {
        entry.seen_ns = now();
        return Known::Superseded(entry.ahead());
    }
    if segment.has(flags::RST) {
        return Known::Living(on_reset(segment, memory, *entry));
    }
    if matches!(entry.state, Translation::ESTABLISHED | Translation::RESET) {
        return Known::Living(Decision::Translate(entry.ahead()));
    }
    entry.seen_ns = now();
    // Holds a part of the header, so that TCP would find nothing new at its beginning.
    let stream = Seq(entry.isn).stream();
    let first = segment.sequence.ahead_of(stream) < entry.ahead() && segment.payload != 0;
    if entry.state != Translation::OPENING || !first || segment.shape != Shape::Plain {
        return Known::Living(Decision::Translate(entry.ahead()));
    }
    if !segment.queued {
        return Known::Living(Decision::Introduce(stream));
    }
    // Whether windows are scaled is not remembered any more: better too small a window than too large.
    Known::Queued(Acknowledgment { upto: stream.plus(entry.ahead()), unscaled: false })
}

/// Whether the table of translated connections has the segment's.
#[inline(never)]
pub fn has(segment: &Segment, memory: &Memory) -> bool {
    if !is_in_use() {
        return false;
    }
    set_flow(segment, memory);
    TRANSLATIONS.get_ptr(memory.key()).is_some()
}

/// A RST for a connection that is translated.
#[inline(always)]
fn on_reset(segment: &Segment, memory: &Memory, entry: Translation) -> Decision {
    /// As large as one is before the socket exists.
    const WINDOW: u32 = 65_536;
    let shift = entry.ahead();
    let ahead = segment.sequence.ahead_of(Seq(entry.isn).stream());
    match entry.state {
        // Of one within the window; the kernel looks more closely (RFC 5961 §3.2).
        Translation::OPENING if ahead > WINDOW => {}
        Translation::OPENING => {
            let _ = TRANSLATIONS.remove(memory.key());
        }
        Translation::ESTABLISHED | Translation::RESET => {
            let reset = Translation { seen_ns: now(), state: Translation::RESET, ..entry };
            // Without memory the agent removes the entry later.
            let _ = replace(memory.key(), &reset);
        }
        _ => {}
    }
    Decision::Translate(shift)
}

/// A segment of a connection that may have been replaced since it was in `TIME_WAIT`.
#[inline(never)]
pub fn on_superseded(memory: &Memory, state: State, shift: u32) -> Option<Decision> {
    match state {
        State::TimeWait => Some(Decision::Translate(shift)),
        State::Connected => {
            // By one that is not translated.
            let _ = TRANSLATIONS.remove(memory.key());
            None
        }
        State::Request | State::Listening | State::Nothing => None,
    }
}

/// The first segment of a connection that the bare ACK before it did not establish: the peer sends it again. If a
/// request socket is still there, the stack may only be waiting for more than a header (`TCP_DEFER_ACCEPT`), or
/// for room; the header need not come again.
#[inline(always)]
pub fn on_queued(state: State, acknowledgment: Acknowledgment) -> Decision {
    if state == State::Request {
        return Decision::acknowledge(Counter::HeaderAcknowledged, acknowledgment);
    }
    Decision::Refuse(DropReason::PayloadWithoutSocket)
}

/// Clears away what earlier connections of this 4-tuple have left, before a SYN. What is in `TIME_WAIT` is still
/// translated until the kernel has taken the SYN. False if that could not be noted.
#[inline(always)]
pub fn clear_for_syn(segment: &Segment, memory: &Memory) -> bool {
    let state = memory.found.get().state;
    if !is_in_use() || !matches!(state, State::Listening | State::TimeWait) {
        return true;
    }
    set_flow(segment, memory);
    let _ = HANDSHAKES.remove(memory.key());
    parts::remove_ended(segment, memory);
    if state == State::TimeWait {
        return supersede(memory);
    }
    let _ = TRANSLATIONS.remove(memory.key());
    true
}

/// Notes that a SYN may replace the connection, if it was translated; false if there is no memory for that.
#[inline(never)]
fn supersede(memory: &Memory) -> bool {
    let Some(entry) = TRANSLATIONS.get_ptr(memory.key()) else { return true };
    // SAFETY: an element of the map. If it has become another connection's, there is none to be replaced.
    let entry = unsafe { *entry };
    let flags = entry.flags | Translation::SUPERSEDED;
    replace(memory.key(), &Translation { flags, ..entry })
}

/// Begins to translate: the header has been read, and the flow is in `memory.event`.
#[inline(never)]
pub fn translate(segment: &Segment, memory: &Memory) -> Decision {
    let handshake = memory.handshake.get();
    let record = memory.record();
    let shift = record.length_of_header();
    let mut flags = 0;
    if record.has(FlowRecord::DENIED) {
        flags |= Translation::DENIED;
    }
    if record.has(FlowRecord::LONG) {
        flags |= Translation::LONG;
    }
    let entry = Translation {
        seen_ns: now(),
        isn: handshake.isn.0,
        shift: record.header_length,
        state: Translation::OPENING,
        flags,
    };
    let stream = handshake.stream();
    if TRANSLATIONS.insert(memory.key(), &entry, BPF_ANY.into()).is_err() {
        return Decision::RefuseBoth(DropReason::TranslationTable, stream);
    }
    let _ = HANDSHAKES.remove(memory.key());
    if let Some(counters) = ListenerCounters::of(segment.listener) {
        counters.count_computed(per_listener::TRANSLATE + u32::from(handshake.obstacle));
    }
    // A segment with nothing new for TCP would not establish the connection, nor does one that lies ahead, behind bytes
    // that are no header. TCP compares a SYN cookie with the exact sequence number of the SYN.
    let end = segment.sequence.ahead_of(stream) as usize + segment.payload;
    let lies_ahead = shift == 0 && memory.header.kept.get() != 0;
    if end == shift as usize || lies_ahead || memory.found.get().state == State::Listening {
        return Decision::Introduce(stream);
    }
    Decision::Translate(shift)
}
