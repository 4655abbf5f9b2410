//! The observe hand-off: the header is read and judged, and left in place.
//!
//! The connection is established before its header comes. Its socket is marked then (`sockops.rs`), and the mark
//! turned into the flow's record when the header has come.

use proxyip_common::{counter::Counter, event::EventKind};

use crate::{
    decide::step::Step,
    decision::Decision,
    frame::{segment::Segment, tcp::Seq},
    kernel::{clock::now, packet::Packet},
    state::{
        counters::{ListenerCounters, count_established},
        events,
        flows::FLOWS,
        handshakes::{Handshake, OBSERVE},
        memory::Memory,
        parts,
        sockets::Socket,
    },
};

/// A segment of an established connection whose header has not come; TCP expects the sequence number `next`.
#[inline(never)]
pub fn on_established(segment: &Segment, memory: &Memory, next: Seq) -> Step {
    // Of this connection, and not of one before it.
    if let Some(begun) = parts::look_up(segment, memory)
        && begun.hand_off() == OBSERVE
        && begun.holds(next)
    {
        return Step::part(Handshake::new(begun.isn, OBSERVE), begun);
    }
    match segment.sequence.ahead_of(next).cast_signed() {
        0 => Step::First(Handshake::new(next.syn(), OBSERVE)),
        ahead if hides_header(segment, ahead) => Step::Done(Decision::Hold(Counter::OutOfOrder)),
        // A probe.
        _ => Step::Done(Decision::Pass),
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

/// Puts the record that is in `memory.event` where the socket's mark is. Without a socket it is done when the
/// connection is established.
#[inline(never)]
pub fn fill_mark(packet: &impl Packet, segment: &Segment, memory: &Memory) {
    let Some(socket) = Socket::find(packet, segment) else { return };
    let Some(mut record) = socket.record() else { return };
    // SAFETY: the socket is held. A program on another CPU may read the record meanwhile: each field is the old or the new
    // one then.
    let record = unsafe { record.as_mut() };
    memory.change_record(|record| record.established_ns = now());
    *record = *memory.record();
    if let Some(flow) = FLOWS.get_ptr_mut(memory.key()) {
        // SAFETY: an element of the map, put there a moment ago.
        unsafe { (*flow).established_ns = memory.record().established_ns };
    }
    count_established(record, ListenerCounters::of(record.listener));
    if events::is_wanted(EventKind::Established, record) {
        events::send_from(memory, EventKind::Established, 0);
    }
}
