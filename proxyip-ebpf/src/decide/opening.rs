//! A SYN, or a segment whose TCP header is behind options, extension headers or fragmentation.

use proxyip_common::{
    counter::{DropReason, Obstacle},
    settings::HandOffChoice,
};

use crate::{
    decide::{policy, syn::answer_syn, translated, waiting},
    decision::{Act, Decision},
    frame::segment::{RETIRED_LISTENER, Segment, Shape},
    header::intact::is_intact,
    kernel::{packet::Packet, platform::Platform},
    state::{
        fallbacks::fallback,
        flows::remove_flow,
        handshakes::{Handshake, OBSERVE, TRANSLATE},
        listeners::{choice, is_drained},
        memory::Memory,
        nat, policies,
        route::is_local,
        sockets::State,
    },
};

const CHOICE_ACCEPT: u8 = HandOffChoice::Accept as u8;
const CHOICE_TRANSLATE: u8 = HandOffChoice::Translate as u8;
const CHOICE_OBSERVE: u8 = HandOffChoice::Observe as u8;

/// A SYN, or a segment that hides its TCP header.
#[inline(never)]
pub fn on_opening<P: Platform, A: Act>(
    packet: &A::Packet,
    segment: &Segment,
    memory: &Memory,
) -> Decision {
    // No connection is made to a group; TCP drops its SYN.
    if is_group(segment) || !is_local(packet, segment) {
        return Decision::Pass;
    }
    if segment.shape == Shape::Plain && !translated::clear_for_syn(segment, memory) {
        return Decision::Refuse(DropReason::SynAckFailed);
    }
    if segment.listener == RETIRED_LISTENER {
        remove_flow(segment, memory);
        return Decision::Pass;
    }
    // Once for both questions: the answers must be of one version.
    match policies::rules_of(segment.listener) {
        // The listener is being removed: the peer sends its SYN again.
        None => return Decision::Refuse(DropReason::SynAckFailed),
        Some(rules) if policies::trusts(rules, &segment.peer.0) => {}
        Some(rules) => return policy::on_untrusted(packet, rules, segment),
    }
    on_trusted::<P, A>(packet, segment, memory)
}

/// One of a source that is trusted.
#[inline(always)]
fn on_trusted<P: Platform, A: Act>(
    packet: &A::Packet,
    segment: &Segment,
    memory: &Memory,
) -> Decision {
    match segment.shape {
        Shape::Plain if !is_intact(packet) => return Decision::Refuse(DropReason::Checksum),
        Shape::Plain => {}
        Shape::Fragment => return Decision::Refuse(DropReason::Fragment),
        Shape::Extended => return Decision::Refuse(DropReason::ExtensionHeader),
    }
    match memory.found.get().state {
        State::Connected => return Decision::LeaveToKernel(Obstacle::LivingSocket),
        State::Request => return waiting::on_repeated_syn(segment, memory),
        State::Listening | State::TimeWait | State::Nothing => {}
    }
    let obstacle = match answer::<P>(packet, segment, memory) {
        Ok(decision) => return decision,
        Err(obstacle) => obstacle,
    };
    let hand_off = match choice(segment) {
        // The application would get it whoever its client is.
        CHOICE_ACCEPT if policies::judges(segment) => {
            return Decision::Refuse(DropReason::Unjudged);
        }
        CHOICE_ACCEPT => return Decision::LeaveToKernel(obstacle),
        CHOICE_OBSERVE => OBSERVE,
        _ => TRANSLATE,
    };
    let obstacle = obstacle as u8;
    memory.settle(Handshake { obstacle, ..Handshake::new(segment.sequence, hand_off) });
    waiting::remember_syn::<A>(packet, segment, memory)
}

/// Answers the SYN, if the accept hand-off can serve the connection.
///
/// # Errors
/// Why it cannot.
#[inline(always)]
pub fn answer<P: Platform>(
    packet: &impl Packet,
    segment: &Segment,
    memory: &Memory,
) -> Result<Decision, Obstacle> {
    // A connection that has begun may go on: only its SYN is refused.
    if is_drained(segment) {
        return Ok(Decision::Refuse(DropReason::Drained));
    }
    if nat::redirects(segment) {
        return Ok(Decision::LeaveToKernel(Obstacle::Redirected));
    }
    match unserved::<P>(segment, memory) {
        None => answer_syn(packet, segment, memory),
        Some(obstacle) => Err(obstacle),
    }
}

/// Whether the segment is for a multicast group, or all of the network.
#[inline(always)]
pub fn is_group(segment: &Segment) -> bool {
    let [first, .., fourth] = segment.local.0.words();
    if segment.ipv6 { first.to_ne_bytes()[0] == 0xff } else { fourth.to_ne_bytes()[0] >= 224 }
}

/// Why the accept hand-off cannot serve a connection whose SYN it has not read yet.
#[inline(always)]
fn unserved<P: Platform>(segment: &Segment, memory: &Memory) -> Option<Obstacle> {
    if matches!(choice(segment), CHOICE_TRANSLATE | CHOICE_OBSERVE) {
        return Some(Obstacle::Configured);
    }
    if !P::ACCEPT {
        return Some(Obstacle::NoKfunc);
    }
    if memory.found.get().mptcp {
        return Some(Obstacle::Mptcp);
    }
    if nat::is_there() {
        return Some(Obstacle::Nat);
    }
    if memory.found.get().state == State::TimeWait {
        return Some(Obstacle::TimeWait);
    }
    fallback(segment)
}
