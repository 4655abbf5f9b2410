//! Headers that are split over several segments.
//!
//! What has come is kept, and acknowledged in the name of the socket that does not exist yet: a peer that waits for
//! that (Nagle's algorithm, a small window) goes on at once. The segment that completes the header is then the first, as
//! far as the hand-off is concerned, and what lies before it has been received.
//!
//! Two tables, so that memory is bounded and nobody hangs: one keeps the bytes of a few headers, the other remembers of
//! many that they have begun. Whose bytes had to make room is reset.

use proxyip_common::{
    counter::{Counter, DropReason},
    flow::{FlowKey, HandOff},
    header::MAX_LENGTH,
    partial::PartialHeader,
};

use crate::{
    acknowledge::acknowledge,
    event::now,
    header::Code,
    judge::{Verdict, identify},
    kernel::{bindings::BPF_ANY, programs::TcContext},
    maps::{
        HEADER_BYTES, LISTENERS, PARTIAL_HEADERS, Scratch, in_use, is_used, scratch, set_used,
        share,
    },
    packet::{Segment, flags},
};

/// Words of a header.
const WORDS: usize = MAX_LENGTH / 8;

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

/// Whether the flow has begun a header; its hand-off and its handshake's initial sequence number are then in `scratch`,
/// the latter still to be compared with the segment's.
#[inline(never)]
pub fn find(segment: &Segment, scratch: &mut Scratch) -> bool {
    if !is_used(in_use::SPLIT) {
        return false;
    }
    identify(segment, scratch);
    let Some(header) = PARTIAL_HEADERS.get_ptr(&scratch.event.key) else { return false };
    // SAFETY: an element of the map; at worst it is another flow's by now, whose number does not fit.
    unsafe {
        scratch.isn = (*header).isn;
        scratch.hand_off = (*header).hand_off;
        let state = (*header).state;
        scratch.dropped = state == PartialHeader::DROPPED;
        scratch.refused = scratch.dropped || state == PartialHeader::REFUSED;
    }
    true
}

/// Whether the handshake with this initial sequence number has begun a header.
#[inline(always)]
pub fn has_begun(flow: &FlowKey, isn: u32) -> bool {
    if !is_used(in_use::SPLIT) {
        return false;
    }
    // SAFETY: an element of the map; at worst it is another flow's by now, whose number does not fit.
    PARTIAL_HEADERS.get_ptr(flow).is_some_and(|header| unsafe { (*header).isn } == isn)
}

/// Whether this sequence number lies within a header of the handshake that is in `scratch`.
#[inline(always)]
pub fn is_part(sequence: u32, scratch: &Scratch) -> bool {
    let ahead = sequence.wrapping_sub(scratch.isn.wrapping_add(1));
    ahead < MAX_LENGTH as u32
}

/// Puts the bytes kept of the flow that is in `scratch` where the header is read, and finds the segment's place.
#[inline(never)]
pub fn locate(segment: &Segment, scratch: &mut Scratch) -> Position {
    let scratch = share(scratch);
    recall_bytes();
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
    if is_late(segment, scratch) {
        return refuse(segment, scratch, DropReason::HeaderTimeout);
    }
    if since(scratch).is_none() && !begin(segment, scratch) {
        return refuse(segment, scratch, DropReason::FlowTable);
    }
    scratch.acknowledged = stored(scratch);
    if (scratch.acknowledged as usize) < scratch.loaded {
        let scratch = share(scratch);
        let kept = keep_bytes();
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

/// Notes that the flow's header is complete. Its bytes stay for the while: if the stack does not take the connection,
/// the peer sends the last segment again.
#[inline(always)]
pub fn complete(scratch: &Scratch) {
    if !is_used(in_use::SPLIT) {
        return;
    }
    if let Some(header) = PARTIAL_HEADERS.get_ptr_mut(&scratch.event.key) {
        // SAFETY: an element of the map; at worst it is another flow's by now, which the agent then does not reset.
        unsafe { (*header).state = PartialHeader::COMPLETE };
    }
}

/// Notes that the connection is reset or dropped, as [`PartialHeader`] has it: what was acknowledged does not come
/// again, and if the RST is lost, its peer is told once more.
#[inline(always)]
pub fn end(scratch: &Scratch, state: u8) {
    if !is_used(in_use::SPLIT) {
        return;
    }
    if let Some(header) = PARTIAL_HEADERS.get_ptr_mut(&scratch.event.key) {
        // SAFETY: an element of the map; at worst it is another flow's by now, which is reset when it goes on.
        unsafe {
            if (*header).isn == scratch.isn {
                (*header).state = state;
            }
        }
    }
    let _ = HEADER_BYTES.remove(&scratch.event.key);
}

/// Forgets the flow's header if it is not of the handshake that this SYN begins.
#[inline(never)]
pub fn make_way(segment: &Segment, scratch: &mut Scratch) {
    if find(segment, scratch) && scratch.isn != segment.sequence {
        forget(&scratch.event.key);
    }
}

/// Forgets the flow's header.
#[inline(always)]
pub fn forget(flow: &FlowKey) {
    if is_used(in_use::SPLIT) {
        let _ = PARTIAL_HEADERS.remove(flow);
        let _ = HEADER_BYTES.remove(flow);
    }
}

/// The peer has given up: forgets its header, if the segment is the RST that follows it.
#[inline(never)]
pub fn judge_reset(segment: &Segment, scratch: &mut Scratch) -> Verdict {
    if !find(segment, scratch) || locate(segment, scratch) != Position::Old || scratch.skipped != 0
    {
        return Verdict::Pass;
    }
    forget(&scratch.event.key);
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
    end(scratch, PartialHeader::REFUSED);
    let expected = match scratch.hand_off {
        ACCEPT => return Verdict::reset(reason),
        TRANSLATE => scratch.isn.wrapping_add(1),
        _ => segment.sequence.wrapping_add(scratch.skipped as u32),
    };
    Verdict::reset_both(reason, scratch, expected)
}

/// Whether the header of this handshake began too long ago, and is not complete yet.
#[inline(never)]
pub fn is_late(segment: &Segment, scratch: &mut Scratch) -> bool {
    let Some(since_ns) = since(scratch) else { return false };
    LISTENERS
        .get(segment.listener.into())
        .is_none_or(|listener| now().wrapping_sub(since_ns) > listener.header_timeout_ns)
}

/// When the header of this handshake began; for one that has been complete, now.
#[inline(always)]
fn since(scratch: &Scratch) -> Option<u64> {
    let header = PARTIAL_HEADERS.get_ptr(&scratch.event.key)?;
    // SAFETY: an element of the map; at worst it is another flow's by now, whose number does not fit.
    let (isn, since_ns, state) = unsafe { ((*header).isn, (*header).since_ns, (*header).state) };
    if isn != scratch.isn {
        return None;
    }
    Some(if state == PartialHeader::COMPLETE { now() } else { since_ns })
}

/// Remembers that the header has begun; false if that failed.
#[inline(always)]
fn begin(segment: &Segment, scratch: &Scratch) -> bool {
    set_used(in_use::SPLIT);
    let header = PartialHeader {
        since_ns: now(),
        isn: scratch.isn,
        expected: segment.acknowledgment,
        listener: segment.listener,
        hand_off: scratch.hand_off,
        state: PartialHeader::OPEN,
        reserved: [0; 4],
    };
    PARTIAL_HEADERS.insert(&scratch.event.key, &header, BPF_ANY.into()).is_ok()
}

/// How many bytes of this handshake's header are kept.
#[inline(always)]
fn stored(scratch: &Scratch) -> u32 {
    let Some(kept) = HEADER_BYTES.get_ptr(&scratch.event.key) else { return 0 };
    // SAFETY: an element of the map; at worst it is another flow's by now, whose number does not fit.
    let (isn, length) = unsafe { ((*kept).isn, (*kept).length) };
    if isn == scratch.isn { length } else { 0 }
}

// Exported, like the steps of the grammar: the verifier walks them once.

/// Copies the bytes kept of the flow that is in the scratch to where the header is read.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn recall_bytes() -> Code {
    let Some(scratch) = scratch() else { return 0 };
    scratch.kept = 0;
    let Some(kept) = HEADER_BYTES.get_ptr(&scratch.event.key) else { return 0 };
    // SAFETY: an element of the map. It may become another flow's while it is read; then its owner changes first.
    let (isn, length) = unsafe { ((*kept).isn, (*kept).length as usize) };
    if isn != scratch.isn {
        return 0;
    }
    for word in 0..WORDS {
        if word * 8 >= length {
            break;
        }
        // SAFETY: both arrays have as many words, and are aligned.
        unsafe {
            let from = (&raw const (*kept).words).cast::<u64>().add(word);
            scratch.header.words().add(word).write(from.read_volatile());
        }
    }
    // SAFETY: as above.
    let (owner, still) = unsafe { ((&raw const (*kept).owner).read_volatile(), (*kept).isn) };
    if owner == scratch.event.key && still == isn {
        scratch.kept = length & (MAX_LENGTH - 1);
    }
    0
}

/// Keeps what is loaded of the header of the flow that is in the scratch; 0 if that worked.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn keep_bytes() -> Code {
    let Some(scratch) = scratch() else { return -1 };
    let bytes = &mut scratch.bytes;
    bytes.owner = scratch.event.key;
    bytes.isn = scratch.isn;
    bytes.length = scratch.loaded as u32;
    for word in 0..WORDS {
        if word * 8 >= scratch.loaded {
            break;
        }
        // SAFETY: both arrays have as many words, and are aligned.
        unsafe {
            let to = (&raw mut bytes.words).cast::<u64>().add(word);
            to.write(scratch.header.words().add(word).read());
        }
    }
    match HEADER_BYTES.insert(&scratch.event.key, &scratch.bytes, BPF_ANY.into()) {
        Ok(()) => 0,
        Err(_) => -1,
    }
}
