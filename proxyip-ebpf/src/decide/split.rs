//! Headers that are split over several segments.
//!
//! proxyip keeps the bytes that have come, and acknowledges them in the name of the socket that does not exist yet. A
//! peer that waits for the acknowledgment (Nagle's algorithm, a small window) goes on at once. The hand-off treats
//! the segment that completes the header as the first one, and the bytes before it as received.

use proxyip_common::{
    counter::{Counter, DropReason},
    partial::PartialHeader,
    settings::ListenerSettings,
};

use crate::{
    decision::{Acknowledgment, Decision},
    frame::{segment::Segment, tcp::flags},
    state::{
        flows::set_flow,
        handshakes::{ACCEPT, Handshake, OBSERVE, TRANSLATE},
        listeners::LISTENERS,
        memory::Memory,
        parts::{self, Begun},
    },
};

/// Where a segment lies in the stream. The first bytes of the stream are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    /// The bytes before it are kept no longer.
    Forgotten,
    /// There is a hole before it, or it begins before the stream.
    OutOfOrder,
    /// It has no byte that is not kept.
    Old,
    /// It goes on where the kept bytes end; `memory.header.skipped` of its bytes are among those.
    Next,
}

/// Puts the bytes kept of the flow that is in `memory` where the header is read, and finds the segment's place.
#[inline(never)]
fn locate(segment: &Segment, memory: &Memory) -> Position {
    parts::recall_bytes();
    let kept = memory.header.kept.get();
    if kept == 0 {
        return Position::Forgotten;
    }
    let ahead = segment.sequence.ahead_of(memory.handshake.get().stream()) as usize;
    if ahead > kept {
        return Position::OutOfOrder;
    }
    memory.header.skipped.set(kept - ahead);
    if segment.payload > memory.header.skipped.get() { Position::Next } else { Position::Old }
}

/// A segment of a handshake that has begun a header; `None` if it brings more of the header.
#[inline(never)]
pub fn on_part(segment: &Segment, memory: &Memory) -> Option<Decision> {
    let handshake = memory.handshake.get();
    Some(match locate(segment, memory) {
        Position::Next => return None,
        Position::OutOfOrder => Decision::Hold(Counter::OutOfOrder),
        Position::Forgotten => refuse(segment, memory, DropReason::HeaderForgotten),
        // The kernel has the connection, and answers by itself.
        Position::Old if handshake.hand_off == OBSERVE => Decision::Pass,
        // The application has not seen the header's bytes.
        Position::Old
            if segment.payload == memory.header.skipped.get() && segment.has(flags::FIN) =>
        {
            refuse(segment, memory, DropReason::HeaderIncomplete)
        }
        // Not even the byte that a keep-alive probe has.
        Position::Old if memory.header.skipped.get() == 0 => Decision::Hold(Counter::AckDeferred),
        Position::Old => {
            if (memory.header.acknowledged.get() as usize) < memory.header.kept.get() {
                parts::note_acknowledged(memory);
            }
            acknowledge(&handshake, memory.header.kept.get() as u32)
        }
    })
}

/// Acknowledges so many bytes of a header that is not complete.
#[inline(always)]
fn acknowledge(handshake: &Handshake, length: u32) -> Decision {
    let upto = handshake.stream().plus(length);
    let unscaled = handshake.unscaled;
    Decision::acknowledge(Counter::HeaderPart, Acknowledgment { upto, unscaled })
}

/// A segment of a connection that was reset or dropped when a part of its header had come.
#[inline(always)]
pub fn on_refused(begun: Begun) -> Option<Decision> {
    if begun.is_dropped() {
        return Some(Decision::Hold(Counter::DeniedAgain));
    }
    if begun.is_reset() { Some(Decision::Reset(Counter::ResetAgain)) } else { None }
}

/// Keeps the bytes of a header that is not complete: `memory.header.loaded` of them, all that have come.
#[inline(never)]
pub fn keep(segment: &Segment, memory: &Memory) -> Decision {
    if segment.has(flags::FIN) {
        return refuse(segment, memory, DropReason::HeaderIncomplete);
    }
    set_flow(segment, memory);
    if parts::is_late(segment, memory) {
        return refuse(segment, memory, DropReason::HeaderTimeout);
    }
    if parts::since(memory).is_none() && !parts::note_begun(segment, memory) {
        return refuse(segment, memory, DropReason::FlowTable);
    }
    let loaded = memory.header.loaded.get() as u32;
    let stored = parts::stored(memory);
    let waits = lets_headerless_in(segment) && memory.header.undecided.get();
    if stored < loaded {
        memory.header.acknowledged.set(if waits { parts::acknowledged(memory) } else { loaded });
        if parts::keep_bytes() != 0 {
            return refuse(segment, memory, DropReason::FlowTable);
        }
    } else if waits {
        // The peer sends it once more. It may be waiting for an acknowledgment before it goes on.
        parts::note_acknowledged(memory);
    }
    let handshake = memory.handshake.get();
    if handshake.hand_off == OBSERVE {
        return Decision::PassCounted(Counter::HeaderPart);
    }
    if waits && stored < loaded {
        return Decision::Hold(Counter::HeaderPart);
    }
    acknowledge(&handshake, stored.max(loaded))
}

/// Whether a connection may begin without a header, as the one that the segment belongs to does. The application gets it
/// from its first byte. The peer sends bytes again only if they were not acknowledged.
#[inline(always)]
pub fn may_be_headerless(segment: &Segment, memory: &Memory) -> bool {
    let header = &memory.header;
    lets_headerless_in(segment)
        && (header.kept.get() == header.skipped.get()
            || header.acknowledged.get() == 0
            || memory.handshake.get().hand_off == OBSERVE)
}

/// Whether the listener takes connections without a header for the load balancer's own.
#[inline(always)]
fn lets_headerless_in(segment: &Segment) -> bool {
    let listener = LISTENERS.get(segment.listener.into());
    listener.is_some_and(|listener| listener.has(ListenerSettings::HEADERLESS_IS_LOCAL))
}

/// The peer has given up: forgets its header, if the segment is the RST that follows it.
#[inline(never)]
pub fn on_reset(segment: &Segment, memory: &Memory) -> Decision {
    let Some(begun) = parts::look_up(segment, memory) else { return Decision::Pass };
    memory.settle(Handshake::new(begun.isn, begun.hand_off()));
    if locate(segment, memory) != Position::Old || memory.header.skipped.get() != 0 {
        return Decision::Pass;
    }
    parts::remove(memory.key());
    if begun.hand_off() == TRANSLATE {
        // The kernel has seen nothing of the header.
        return Decision::Translate(memory.header.kept.get() as u32);
    }
    Decision::Pass
}

/// Resets the connection of a segment, and what the kernel has of it.
#[inline(never)]
pub fn refuse(segment: &Segment, memory: &Memory, reason: DropReason) -> Decision {
    parts::end(memory, PartialHeader::REFUSED);
    let handshake = memory.handshake.get();
    match handshake.hand_off {
        ACCEPT => Decision::Refuse(reason),
        TRANSLATE => Decision::RefuseBoth(reason, handshake.stream()),
        _ => {
            let skipped = memory.header.skipped.get() as u32;
            Decision::RefuseBoth(reason, segment.sequence.plus(skipped))
        }
    }
}
