//! The observe hand-off: the header is read and judged, and left in place.
//!
//! The connection is established before its header comes. Its socket is marked then (`sockops.rs`), and the mark
//! turned into the flow's record when the header has come.

use proxyip_common::{
    counter::{Counter, DropReason},
    event::EventKind,
    flow::{FlowRecord, HandOff},
    settings::HandOffChoice,
};

use crate::{
    decide::split::{self, Position},
    decision::Verdict,
    frame::segment::Segment,
    kernel::clock::now,
    memory::Scratch,
    state::{
        counters::count_established, events, flows::FLOWS, listeners::choice, parts,
        sockets::Socket,
    },
};

/// A segment of an established connection.
#[inline(never)]
pub fn judge(segment: &Segment, scratch: &mut Scratch, socket: &Socket) -> Verdict {
    if choice(segment) != HandOffChoice::Observe as u8 || segment.payload == 0 {
        return Verdict::Pass;
    }
    match socket.record() {
        Some(record) if awaits_header(record) => {}
        _ => return Verdict::Pass,
    }
    scratch.hand_off = HandOff::Observe as u8;
    let Some(next) = socket.next_sequence() else { return Verdict::Pass };
    // Of this connection, and not of one before it.
    if parts::find(segment, scratch) && parts::is_part(next, scratch) {
        return judge_part(segment, scratch);
    }
    scratch.hand_off = HandOff::Observe as u8;
    match segment.sequence.wrapping_sub(next).cast_signed() {
        0 => {
            scratch.isn = segment.sequence.wrapping_sub(1);
            scratch.kept = 0;
            scratch.skipped = 0;
            Verdict::First
        }
        ahead if hides_header(segment, ahead) => Verdict::Hold(Counter::OutOfOrder),
        // A probe.
        _ => Verdict::Pass,
    }
}

/// A segment of a connection whose header has begun.
#[inline(never)]
pub fn judge_part(segment: &Segment, scratch: &mut Scratch) -> Verdict {
    if scratch.refused {
        return split::judge_refused(scratch);
    }
    match split::locate(segment, scratch) {
        Position::Next => Verdict::First,
        Position::Old => Verdict::Pass,
        Position::Elsewhere => Verdict::Hold(Counter::OutOfOrder),
        Position::Forgotten => {
            scratch.skipped = 0;
            split::refuse(segment, scratch, DropReason::HeaderForgotten)
        }
    }
}

/// Whether the application could read, of a segment that is `ahead` of the payload's beginning, what has not been
/// judged: the beginning itself, or the rest of a header whose first part is still to come.
#[inline(always)]
pub fn hides_header(segment: &Segment, ahead: i32) -> bool {
    if ahead < 0 {
        segment.payload > ahead.unsigned_abs() as usize
    } else {
        ahead > 0 && segment.payload != 0
    }
}

/// Whether this is the mark of a connection whose header has not come yet.
#[inline(always)]
pub fn awaits_header(record: &FlowRecord) -> bool {
    record.hand_off == HandOff::Observe as u8 && record.version == 0
}

/// Puts the record that is in `scratch.event` where the socket's mark is. Without a socket it is done when the
/// connection is established.
#[inline(always)]
pub fn begin(scratch: &mut Scratch, socket: &Socket) {
    let Some(record) = socket.record() else { return };
    scratch.event.record.established_ns = now();
    *record = scratch.event.record;
    if let Some(flow) = FLOWS.get_ptr_mut(&scratch.event.key) {
        // SAFETY: an element of the map, put there a moment ago.
        unsafe { (*flow).established_ns = scratch.event.record.established_ns };
    }
    count_established(record);
    events::send_scratch(scratch, EventKind::Established, 0);
}
