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
    decision::Decision,
    frame::segment::Segment,
    kernel::clock::now,
    state::{
        counters::count_established, events, flows::FLOWS, listeners::choice, memory::Memory,
        parts, sockets::Socket,
    },
};

/// A segment of an established connection.
#[inline(never)]
pub fn on_established(segment: &Segment, memory: &Memory, socket: &Socket) -> Decision {
    if choice(segment) != HandOffChoice::Observe as u8 || segment.payload == 0 {
        return Decision::Pass;
    }
    match socket.record() {
        Some(record) if awaits_header(record) => {}
        _ => return Decision::Pass,
    }
    memory.hand_off.set(HandOff::Observe as u8);
    let Some(next) = socket.next_sequence() else { return Decision::Pass };
    // Of this connection, and not of one before it.
    if parts::find(segment, memory) && parts::is_part(next, memory) {
        return on_part(segment, memory);
    }
    memory.hand_off.set(HandOff::Observe as u8);
    match segment.sequence.wrapping_sub(next).cast_signed() {
        0 => {
            memory.isn.set(segment.sequence.wrapping_sub(1));
            memory.header.kept.set(0);
            memory.header.skipped.set(0);
            Decision::First
        }
        ahead if hides_header(segment, ahead) => Decision::Hold(Counter::OutOfOrder),
        // A probe.
        _ => Decision::Pass,
    }
}

/// A segment of a connection whose header has begun.
#[inline(never)]
pub fn on_part(segment: &Segment, memory: &Memory) -> Decision {
    if memory.refused.get() {
        return split::on_refused(memory);
    }
    match split::locate(segment, memory) {
        Position::Next => Decision::First,
        Position::Old => Decision::Pass,
        Position::OutOfOrder => Decision::Hold(Counter::OutOfOrder),
        Position::Forgotten => {
            memory.header.skipped.set(0);
            split::refuse(segment, memory, DropReason::HeaderForgotten)
        }
    }
}

/// Whether passing a segment, `ahead` bytes from the payload's beginning, would let the application read bytes of an
/// unjudged header.
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

/// Puts the record that is in `memory.event` where the socket's mark is. Without a socket it is done when the
/// connection is established.
#[inline(always)]
pub fn fill_mark(memory: &Memory, socket: &Socket) {
    let Some(record) = socket.record() else { return };
    memory.change_record(|record| record.established_ns = now());
    *record = *memory.record();
    if let Some(flow) = FLOWS.get_ptr_mut(memory.key()) {
        // SAFETY: an element of the map, put there a moment ago.
        unsafe { (*flow).established_ns = memory.record().established_ns };
    }
    count_established(record);
    events::send_from(memory, EventKind::Established, 0);
}
