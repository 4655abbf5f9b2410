//! Headers that are split over several segments.
//!
//! What has come is kept, and acknowledged in the name of the socket that does not exist yet: a peer that waits for
//! that (Nagle's algorithm, a small window) goes on at once. The segment that completes the header is then the first, as
//! far as the hand-off is concerned, and what lies before it has been received.

use proxyip_common::{
    counter::{Counter, DropReason},
    flow::HandOff,
    partial::PartialHeader,
};

use crate::{
    decide::acknowledge::acknowledge,
    decision::Verdict,
    frame::{segment::Segment, tcp::flags},
    kernel::{programs::TcContext, verified::share},
    memory::Scratch,
    state::{flows::identify, parts},
};

/// Where a segment lies in the stream, of which the first bytes are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The bytes before it are kept no longer.
    Forgotten,
    /// There is a hole before it, or it begins before the stream.
    Elsewhere,
    /// It has no byte that is not kept.
    Old,
    /// It goes on where the kept bytes end; `scratch.skipped` of its bytes are among those.
    Next,
}

/// Puts the bytes kept of the flow that is in `scratch` where the header is read, and finds the segment's place.
#[inline(never)]
pub fn locate(segment: &Segment, scratch: &mut Scratch) -> Position {
    let scratch = share(scratch);
    parts::recall_bytes();
    let scratch = share(scratch);
    let kept = scratch.kept;
    if kept == 0 {
        return Position::Forgotten;
    }
    let ahead = segment.sequence.wrapping_sub(scratch.isn.wrapping_add(1)) as usize;
    if ahead > kept {
        return Position::Elsewhere;
    }
    scratch.skipped = kept - ahead;
    if segment.payload > scratch.skipped { Position::Next } else { Position::Old }
}

/// A segment of a handshake that has begun a header, whose bytes the application has not seen.
#[inline(never)]
pub fn judge(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Verdict {
    if scratch.refused {
        return judge_refused(scratch);
    }
    match locate(segment, scratch) {
        Position::Next => Verdict::First,
        Position::Elsewhere => Verdict::Hold(Counter::OutOfOrder),
        Position::Forgotten => refuse(segment, scratch, DropReason::HeaderForgotten),
        Position::Old if segment.payload == scratch.skipped && segment.has(flags::FIN) => {
            refuse(segment, scratch, DropReason::HeaderIncomplete)
        }
        // Not even the byte that a keep-alive probe has.
        Position::Old if scratch.skipped == 0 => Verdict::Hold(Counter::AckDeferred),
        Position::Old => {
            scratch.acknowledged = scratch.kept as u32;
            acknowledge(ctx, segment, scratch, Counter::HeaderPart)
        }
    }
}

/// A segment of a connection that was reset or dropped when a part of its header had come.
#[inline(always)]
pub fn judge_refused(scratch: &Scratch) -> Verdict {
    if scratch.dropped {
        Verdict::Hold(Counter::DeniedAgain)
    } else {
        Verdict::Reset(Counter::ResetAgain)
    }
}

/// Keeps the bytes of a header that is not complete: `scratch.loaded` of them, all that have come.
#[inline(never)]
pub fn keep(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Verdict {
    if segment.has(flags::FIN) {
        return refuse(segment, scratch, DropReason::HeaderIncomplete);
    }
    identify(segment, scratch);
    if parts::is_late(segment, scratch) {
        return refuse(segment, scratch, DropReason::HeaderTimeout);
    }
    if parts::since(scratch).is_none() && !parts::begin(segment, scratch) {
        return refuse(segment, scratch, DropReason::FlowTable);
    }
    scratch.acknowledged = parts::stored(scratch);
    if (scratch.acknowledged as usize) < scratch.loaded {
        let scratch = share(scratch);
        let kept = parts::keep_bytes();
        let scratch = share(scratch);
        if kept != 0 {
            return refuse(segment, scratch, DropReason::FlowTable);
        }
        scratch.acknowledged = scratch.loaded as u32;
    }
    if scratch.hand_off == HandOff::Observe as u8 {
        return Verdict::PassCounted(Counter::HeaderPart);
    }
    acknowledge(ctx, segment, scratch, Counter::HeaderPart)
}

/// The peer has given up: forgets its header, if the segment is the RST that follows it.
#[inline(never)]
pub fn judge_reset(segment: &Segment, scratch: &mut Scratch) -> Verdict {
    if !parts::find(segment, scratch)
        || locate(segment, scratch) != Position::Old
        || scratch.skipped != 0
    {
        return Verdict::Pass;
    }
    parts::forget(&scratch.event.key);
    if scratch.hand_off == HandOff::Translate as u8 {
        // The kernel has seen nothing of the header.
        return Verdict::Translate(scratch.kept as u16);
    }
    Verdict::Pass
}

/// Resets the connection of a segment, and what the kernel has of it.
#[inline(always)]
pub fn refuse(segment: &Segment, scratch: &mut Scratch, reason: DropReason) -> Verdict {
    const ACCEPT: u8 = HandOff::Accept as u8;
    const TRANSLATE: u8 = HandOff::Translate as u8;
    parts::end(scratch, PartialHeader::REFUSED);
    let expected = match scratch.hand_off {
        ACCEPT => return Verdict::reset(reason),
        TRANSLATE => scratch.isn.wrapping_add(1),
        _ => segment.sequence.wrapping_add(scratch.skipped as u32),
    };
    Verdict::reset_both(reason, scratch, expected)
}
