//! Which socket would get a segment. What is asked of it is asked here, and the socket is released at once.

use proxyip_common::{
    flow::{FlowRecord, HandOff},
    settings::{HandOffChoice, ListenerSettings},
};

use crate::{
    frame::{segment::Segment, tcp::flags},
    kernel::{packet::Packet, platform::Platform},
    state::{
        listeners::LISTENERS,
        memory::Memory,
        sockets::{Found, Socket, State},
    },
};

/// Looks up the socket that TCP would find for the segment, unless that is known, and leaves in `memory` what is found. As a
/// result of this function, the verifier would tell its facts apart, and Linux 6.1 took the arm of another state.
///
/// Whether it is known is asked here: with a branch before the call, LLVM left a variant's field unset that others have set.
///
/// Not inlined: the lookup's argument needs no room on the stack of what follows.
#[inline(never)]
pub fn find<P: Platform>(packet: &impl Packet, segment: &Segment, memory: &Memory) {
    if !segment.found {
        memory.found.set(look_up::<P>(packet, segment, memory));
    }
}

#[inline(always)]
fn look_up<P: Platform>(packet: &impl Packet, segment: &Segment, memory: &Memory) -> Found {
    let Some(socket) = Socket::find(packet, segment) else { return Found::NOTHING };
    let found = Found::new(socket.state());
    match found.state {
        State::Listening if P::ACCEPT => listening(segment, memory, &socket),
        State::Connected => connected(segment, &socket),
        _ => found,
    }
}

/// Looks up the socket, as [`find`] does; true if it listens, and its connections are not MPTCP. Nothing is asked of any other.
#[inline(never)]
pub fn find_listening(packet: &impl Packet, segment: &Segment, memory: &Memory) -> bool {
    let Some(socket) = Socket::find(packet, segment) else { return false };
    if socket.state() != State::Listening {
        return false;
    }
    memory.found.set(listening(segment, memory, &socket));
    !memory.found.get().mptcp
}

#[inline(always)]
fn listening(segment: &Segment, memory: &Memory, socket: &Socket) -> Found {
    if segment.has(flags::SYN) {
        memory.limits.set(socket.limits());
    }
    Found { mptcp: socket.is_mptcp(), ..Found::new(State::Listening) }
}

/// Asks for the socket's record only if its listener marks connections, or leaves headers to applications.
#[inline(always)]
fn connected(segment: &Segment, socket: &Socket) -> Found {
    const OBSERVE: u8 = HandOffChoice::Observe as u8;
    let mut found = Found::new(State::Connected);
    let Some(listener) = LISTENERS.get(segment.listener.into()) else { return found };
    let marks = listener.has(ListenerSettings::MARKS);
    let observes = listener.hand_off == OBSERVE && segment.payload != 0 && !segment.has(flags::SYN);
    if !marks && !observes {
        return found;
    }
    let Some(record) = socket.record() else { return found };
    // SAFETY: the socket is held. A program on another CPU may be filling it: then each field is the old or the new one.
    let record = unsafe { record.as_ref() };
    found.marked = marks && record.has(FlowRecord::DENIED);
    if observes
        && awaits_header(record)
        && let Some(next) = socket.next_sequence()
    {
        found.awaits_header = true;
        found.next = next;
    }
    found
}

/// Whether this is the mark of a connection whose header has not come yet.
#[inline(always)]
pub fn awaits_header(record: &FlowRecord) -> bool {
    record.hand_off == HandOff::Observe as u8 && !record.is_known()
}
