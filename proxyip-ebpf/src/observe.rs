//! The observe hand-off: the header is read and judged, and left in place.
//!
//! The connection is established before its header comes. Its socket is marked then (`sockops.rs`), and the mark
//! turned into the flow's record when the header has come.

use proxyip_common::{
    counter::Counter,
    event::EventKind,
    flow::{FlowRecord, HandOff},
    settings::HandOffChoice,
};

use crate::{
    count::count,
    event,
    judge::{Verdict, choice},
    maps::{FLOWS, Scratch},
    packet::Segment,
    socket::Socket,
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
    let Some(next) = socket.next_sequence() else { return Verdict::Pass };
    match segment.sequence.wrapping_sub(next).cast_signed() {
        0 => {
            scratch.hand_off = HandOff::Observe as u8;
            Verdict::First
        }
        // It would hide the beginning of the payload.
        ahead if hides_beginning(segment, ahead) => Verdict::Hold(Counter::OutOfOrder),
        // A probe; or what overtook the header, and is not read before it.
        _ => Verdict::Pass,
    }
}

/// Whether a segment that is `ahead` of the payload's beginning holds that beginning and not at its own.
#[inline(always)]
pub fn hides_beginning(segment: &Segment, ahead: i32) -> bool {
    ahead < 0 && segment.payload > ahead.unsigned_abs() as usize
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
    scratch.event.record.established_ns = event::now();
    *record = scratch.event.record;
    if let Some(flow) = FLOWS.get_ptr_mut(&scratch.event.key) {
        // SAFETY: an element of the map, put there a moment ago.
        unsafe { (*flow).established_ns = scratch.event.record.established_ns };
    }
    count(Counter::Established);
    event::send_scratch(scratch, EventKind::Established, 0);
}
