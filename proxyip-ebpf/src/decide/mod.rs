//! What to do with each segment that comes in for a guarded port.

pub mod ahead;
pub mod cookie;
pub mod first;
pub mod found;
pub mod latency;
pub mod observed;
pub mod opening;
pub mod outgoing;
pub mod policy;
pub mod quick;
pub mod split;
pub mod step;
pub mod syn;
pub mod translated;
pub mod waiting;

use proxyip_common::counter::{Counter, DropReason};

use crate::{
    decide::{found::find, step::Step, translated::Known},
    decision::{Act, Decision},
    frame::{
        segment::{RETIRED_LISTENER, Segment, Shape},
        tcp::flags,
    },
    header::intact::is_intact,
    kernel::{packet::Buffered, platform::Platform},
    state::{handshakes::Handshake, memory::Memory, nat, policies::trusted, sockets::State},
};

/// Decides on one segment.
#[inline(always)]
pub fn decide<P: Platform, A: Act>(
    packet: &A::Packet,
    segment: &Segment,
    memory: &Memory,
) -> Decision {
    memory.settle(Handshake::NONE);
    let known = translated::look_up(packet, segment, memory);
    if let Known::Living(decision) = known {
        return decision;
    }
    let syn = match segment.flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN) {
        flags::SYN => true,
        set if set & (flags::SYN | flags::RST) == 0 && set & flags::ACK != 0 => false,
        set if set & flags::RST != 0 => {
            policy::mark_reset::<P>(packet, segment, memory);
            return split::on_reset(segment, memory);
        }
        _ => return Decision::Pass,
    };
    find::<P>(packet, segment, memory);
    let state = memory.found.get().state;
    let opening = match state {
        State::Nothing if syn => return Decision::PassCounted(Counter::NoListener),
        State::Nothing => return Decision::Pass,
        State::Listening | State::Request => syn || segment.shape != Shape::Plain,
        State::TimeWait | State::Connected => syn,
    };
    match known {
        Known::Queued(acknowledgment) => {
            return translated::on_queued(state, acknowledgment);
        }
        Known::Superseded(shift) => {
            if let Some(decision) = translated::on_superseded(memory, state, shift) {
                return decision;
            }
        }
        Known::Nothing | Known::Living(_) => {}
    }
    if opening {
        return opening::on_opening::<P, A>(packet, segment, memory);
    }
    on_later::<P, A>(packet, segment, memory, state)
}

/// A segment that does not begin a connection.
#[inline(always)]
fn on_later<P: Platform, A: Act>(
    packet: &A::Packet,
    segment: &Segment,
    memory: &Memory,
    state: State,
) -> Decision {
    match after_opening::<P>(packet, segment, memory, state) {
        Step::Done(decision) => return decision,
        Step::First(handshake) => memory.settle(handshake),
        Step::Part(handshake) => {
            memory.settle(handshake);
            if let Some(decision) = split::on_part(segment, memory) {
                return decision;
            }
        }
    }
    first::run::<P, A>(packet, segment, memory)
}

/// A segment that neither begins a connection nor belongs to one that is translated.
#[inline(always)]
fn after_opening<P: Platform>(
    packet: &impl Buffered,
    segment: &Segment,
    memory: &Memory,
    state: State,
) -> Step {
    if segment.listener == RETIRED_LISTENER {
        return Step::Done(Decision::Pass);
    }
    match state {
        State::Connected => {
            policy::notice_header(packet, segment);
            let found = memory.found.get();
            if found.marked {
                policy::mark(packet, segment);
            }
            if found.awaits_header {
                return observed::on_established(segment, memory, found.next);
            }
            Step::Done(Decision::Pass)
        }
        // A firewall rule reset the bare ACK that this clone was queued behind: there is no translation any more.
        State::Request | State::Listening if segment.queued => {
            Step::Done(Decision::Refuse(DropReason::PayloadWithoutSocket))
        }
        State::Request => waiting::on_request(packet, segment, memory),
        State::Listening => on_listening::<P>(packet, segment, memory),
        State::TimeWait | State::Nothing => Step::Done(Decision::Pass),
    }
}

/// A segment that finds the listening socket.
#[inline(always)]
fn on_listening<P: Platform>(packet: &impl Buffered, segment: &Segment, memory: &Memory) -> Step {
    if let Some(remembered) = waiting::forgotten(segment, memory) {
        if !is_intact(packet) {
            return Step::Done(Decision::Refuse(DropReason::Checksum));
        }
        return waiting::on_remembered(segment, memory, remembered);
    }
    // It is another socket's, which is not found before NAT.
    if nat::is_redirected(segment) {
        return Step::Done(Decision::Pass);
    }
    if P::ACCEPT && !memory.found.get().mptcp {
        return cookie::on_ack(packet, segment, memory);
    }
    if !trusted(segment) {
        return Step::Done(Decision::Pass);
    }
    if !is_intact(packet) {
        return Step::Done(Decision::Refuse(DropReason::Checksum));
    }
    Step::Done(cookie::on_foreign(packet, segment))
}
