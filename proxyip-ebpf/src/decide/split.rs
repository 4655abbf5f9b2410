//! Headers that are split over several segments.
//!
//! proxyip keeps the bytes that have come, and acknowledges them in the name of the socket that does not exist yet. A
//! peer that waits for the acknowledgment (Nagle's algorithm, a small window) goes on at once. The hand-off treats
//! the segment that completes the header as the first one, and the bytes before it as received.

use proxyip_common::{
    counter::{Counter, DropReason},
    flow::HandOff,
    partial::PartialHeader,
};

use crate::{
    decide::acknowledge::acknowledge,
    decision::Decision,
    frame::{segment::Segment, tcp::flags},
    kernel::programs::TcContext,
    state::{flows::set_flow, memory::Memory, parts},
};

/// Where a segment lies in the stream. The first bytes of the stream are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Position {
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
pub fn locate(segment: &Segment, memory: &Memory) -> Position {
    parts::recall_bytes();
    let kept = memory.header.kept.get();
    if kept == 0 {
        return Position::Forgotten;
    }
    let ahead = segment.sequence.wrapping_sub(memory.isn.get().wrapping_add(1)) as usize;
    if ahead > kept {
        return Position::OutOfOrder;
    }
    memory.header.skipped.set(kept - ahead);
    if segment.payload > memory.header.skipped.get() { Position::Next } else { Position::Old }
}

/// A segment of a handshake that has begun a header. The application has not seen the header's bytes.
#[inline(never)]
pub fn on_part(ctx: &TcContext, segment: &Segment, memory: &Memory) -> Decision {
    if memory.refused.get() {
        return on_refused(memory);
    }
    match locate(segment, memory) {
        Position::Next => Decision::First,
        Position::OutOfOrder => Decision::Hold(Counter::OutOfOrder),
        Position::Forgotten => refuse(segment, memory, DropReason::HeaderForgotten),
        Position::Old
            if segment.payload == memory.header.skipped.get() && segment.has(flags::FIN) =>
        {
            refuse(segment, memory, DropReason::HeaderIncomplete)
        }
        // Not even the byte that a keep-alive probe has.
        Position::Old if memory.header.skipped.get() == 0 => Decision::Hold(Counter::AckDeferred),
        Position::Old => {
            memory.acknowledged.set(memory.header.kept.get() as u32);
            acknowledge(ctx, segment, memory, Counter::HeaderPart)
        }
    }
}

/// A segment of a connection that was reset or dropped when a part of its header had come.
#[inline(always)]
pub fn on_refused(memory: &Memory) -> Decision {
    if memory.dropped.get() {
        Decision::Hold(Counter::DeniedAgain)
    } else {
        Decision::Reset(Counter::ResetAgain)
    }
}

/// Keeps the bytes of a header that is not complete: `memory.header.loaded` of them, all that have come.
#[inline(never)]
pub fn keep(ctx: &TcContext, segment: &Segment, memory: &Memory) -> Decision {
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
    memory.acknowledged.set(parts::stored(memory));
    if (memory.acknowledged.get() as usize) < memory.header.loaded.get() {
        let kept = parts::keep_bytes();
        if kept != 0 {
            return refuse(segment, memory, DropReason::FlowTable);
        }
        memory.acknowledged.set(memory.header.loaded.get() as u32);
    }
    if memory.hand_off.get() == HandOff::Observe as u8 {
        return Decision::PassCounted(Counter::HeaderPart);
    }
    acknowledge(ctx, segment, memory, Counter::HeaderPart)
}

/// The peer has given up: forgets its header, if the segment is the RST that follows it.
#[inline(never)]
pub fn on_reset(segment: &Segment, memory: &Memory) -> Decision {
    if !parts::find(segment, memory)
        || locate(segment, memory) != Position::Old
        || memory.header.skipped.get() != 0
    {
        return Decision::Pass;
    }
    parts::remove(memory.key());
    if memory.hand_off.get() == HandOff::Translate as u8 {
        // The kernel has seen nothing of the header.
        return Decision::Translate(memory.header.kept.get() as u16);
    }
    Decision::Pass
}

/// Resets the connection of a segment, and what the kernel has of it.
#[inline(never)]
pub fn refuse(segment: &Segment, memory: &Memory, reason: DropReason) -> Decision {
    const ACCEPT: u8 = HandOff::Accept as u8;
    const TRANSLATE: u8 = HandOff::Translate as u8;
    parts::end(memory, PartialHeader::REFUSED);
    let expected = match memory.hand_off.get() {
        ACCEPT => return Decision::Refuse(reason),
        TRANSLATE => memory.isn.get().wrapping_add(1),
        _ => segment.sequence.wrapping_add(memory.header.skipped.get() as u32),
    };
    Decision::reset_both(reason, memory, expected)
}
