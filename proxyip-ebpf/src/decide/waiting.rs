//! The translate hand-off: the kernel does its own handshake, and sequence numbers are translated.
//!
//! 1. A SYN passes, and its sequence number is remembered.
//! 2. The handshake's bare ACK is dropped, so that the connection is not established yet.
//! 3. The first segment with payload brings the header. From now on each segment's sequence number is lowered by the
//!    header's length, and acknowledgments are raised by it ([`crate::hooks::egress`]). The header's bytes then lie
//!    before what TCP expects, and TCP trims them as data already received.

use core::num::NonZeroU8;

use proxyip_common::{
    counter::{Counter, DropReason, Obstacle},
    flow,
    header::LONGEST,
    settings::NamespaceSettings,
};

use crate::{
    decide::{observed::hides_header, step::Step},
    decision::{Acknowledgment, Act, Decision},
    frame::{
        options,
        segment::Segment,
        tcp::{Seq, flags},
    },
    header::intact::is_intact,
    kernel::{bindings::BPF_ANY, clock::now, packet::Buffered},
    state::{
        flows::{remove_flow, set_flow},
        handshakes::{HANDSHAKES, Handshake, OBSERVE, TRANSLATE},
        in_use::{self, set_used},
        memory::Memory,
        namespace::settings,
        parts::{self, Begun},
        policies::{self, trusted},
        translations::is_in_use,
    },
};

/// How far behind its SYN a segment can lie before the header has come: behind the longest header, and within a window that
/// is not scaled yet.
const SPAN: u32 = 2 + LONGEST as u32 + u16::MAX as u32;

/// What is remembered of a SYN. As small as a register, in which it travels. What is not zero comes first: it says too
/// whether anything is remembered, and BTF has that only at the beginning.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Remembered {
    hand_off: NonZeroU8,
    obstacle: u8,
    unscaled: u8,
    isn: Seq,
}

impl Remembered {
    #[inline(always)]
    fn handshake(self) -> Handshake {
        let Self { isn, hand_off, obstacle, unscaled } = self;
        // One bit, so that the verifier need not walk all that follows for either value.
        let unscaled = unscaled & 1 != 0;
        Handshake { obstacle, unscaled, ..Handshake::new(isn, hand_off.get()) }
    }
}

/// Lets a SYN pass and remembers its handshake, which is in `memory`: a function has no room for one more argument.
#[inline(never)]
pub fn remember_syn<A: Act>(packet: &A::Packet, segment: &Segment, memory: &Memory) -> Decision {
    let Handshake { hand_off, obstacle, .. } = memory.handshake.get();
    // The kernel has nothing left of a connection that the header would belong to. Under accept, the SYN may be forged.
    parts::remove_older(segment, memory);
    remove_flow(segment, memory);
    if !options::read(packet, segment, &memory.options) {
        return Decision::Refuse(DropReason::TranslateFailed);
    }
    if hand_off == TRANSLATE && memory.options.received.signed.get() {
        // A signature covers the sequence numbers. A kernel that does not know it ignores it, so it must not pass.
        return Decision::Refuse(DropReason::Signed);
    }
    let scaled = memory.options.received.window_scale.get().is_some() && window_scaling_on();
    let handshake = flow::Handshake {
        since_ns: now(),
        isn: segment.sequence.0,
        hand_off,
        reason: obstacle,
        unscaled: u8::from(!scaled),
        reserved: 0,
    };
    set_used(in_use::TRANSLATE);
    if HANDSHAKES.insert(memory.key(), &handshake, BPF_ANY.into()).is_err() {
        return Decision::Refuse(DropReason::TranslateFailed);
    }
    if !A::open(packet, segment, memory) {
        return Decision::Refuse(DropReason::TranslateFailed);
    }
    Decision::Pass
}

/// Whether this namespace's stack scales windows.
#[inline(always)]
fn window_scaling_on() -> bool {
    settings().is_some_and(|settings| settings.has(NamespaceSettings::WINDOW_SCALING))
}

/// A SYN whose handshake is under way.
#[inline(never)]
pub fn on_repeated_syn(segment: &Segment, memory: &Memory) -> Decision {
    match recall(segment, memory) {
        Some(remembered) if remembered.isn == segment.sequence => Decision::Pass,
        _ => Decision::LeaveToKernel(Obstacle::LivingSocket),
    }
}

/// A segment that finds the request socket of a handshake.
#[inline(never)]
pub fn on_request(packet: &impl Buffered, segment: &Segment, memory: &Memory) -> Step {
    let remembered = recall(segment, memory);
    if remembered.is_none() && (!trusted(segment) || policies::may_leave(segment)) {
        return Step::Done(Decision::Pass);
    }
    if !is_intact(packet) {
        return Step::Done(Decision::Refuse(DropReason::Checksum));
    }
    if let Some(remembered) = remembered {
        return on_remembered(segment, memory, remembered);
    }
    Step::Done(Decision::RefuseBoth(DropReason::HandshakeUnknown, segment.sequence))
}

/// What is remembered of a segment that finds the listening socket. Its handshake has no request socket because the kernel
/// sent a SYN cookie, or because it has given the handshake up.
#[inline(never)]
pub fn forgotten(segment: &Segment, memory: &Memory) -> Option<Remembered> {
    if is_in_use() { recall(segment, memory) } else { None }
}

/// A segment of a handshake that is remembered.
///
/// Passed on, the segment of a source that is trusted no longer would bring its header to the application, unjudged.
#[inline(never)]
pub fn on_remembered(segment: &Segment, memory: &Memory, remembered: Remembered) -> Step {
    if remembered.hand_off.get() == flow::Handshake::LEFT {
        return Step::Done(Decision::Pass);
    }
    if trusted(segment) {
        return on_waiting(segment, memory, remembered);
    }
    let handshake = remembered.handshake();
    memory.settle(handshake);
    Step::Done(Decision::RefuseBoth(DropReason::TrustWithdrawn, handshake.stream()))
}

/// A segment of a handshake that awaits the header.
#[inline(always)]
fn on_waiting(segment: &Segment, memory: &Memory, remembered: Remembered) -> Step {
    let handshake = remembered.handshake();
    let ahead = segment.sequence.ahead_of(handshake.stream()).cast_signed();
    match handshake.hand_off {
        OBSERVE | TRANSLATE if ahead == 0 && segment.payload != 0 => Step::First(handshake),
        OBSERVE => before_observed(segment, memory, handshake, ahead),
        TRANSLATE => before_translated(segment, memory, handshake, ahead),
        _ => Step::Done(Decision::Pass),
    }
}

/// A segment that does not begin the header, of a connection that will be observed.
#[inline(always)]
fn before_observed(segment: &Segment, memory: &Memory, handshake: Handshake, ahead: i32) -> Step {
    if ahead > 0
        && segment.payload != 0
        && let Some(begun) = begun(segment, memory, &handshake)
    {
        return Step::part(handshake, begun);
    }
    let silent = is_silent(segment, ahead);
    // The application must not see a connection whose client is still to be judged. Every segment that lies ahead
    // acknowledges the handshake too: a FIN, or the answer to a repeated SYN-ACK.
    let judges = (silent || ahead > 0) && policies::judges(segment);
    if judges && silent {
        return Step::Done(on_silent(segment, &handshake, ahead));
    }
    if judges || hides_header(segment, ahead) {
        return Step::Done(Decision::Hold(Counter::OutOfOrder));
    }
    Step::Done(Decision::Pass)
}

/// A segment that does not begin the header, of a connection that will be translated.
#[inline(always)]
fn before_translated(segment: &Segment, memory: &Memory, handshake: Handshake, ahead: i32) -> Step {
    let silent = is_silent(segment, ahead);
    // A keep-alive probe of the handshake is answered whatever has begun since.
    let probe = silent && ahead < 0;
    if !probe && let Some(begun) = begun(segment, memory, &handshake) {
        return Step::part(handshake, begun);
    }
    if silent {
        return Step::Done(on_silent(segment, &handshake, ahead));
    }
    Step::Done(Decision::Hold(Counter::OutOfOrder))
}

/// Whether a segment that is `ahead` of the payload's beginning brings nothing new. That is the handshake's bare ACK,
/// the end, or a keep-alive probe (RFC 9293 §3.8.4), which lies one behind.
#[inline(always)]
fn is_silent(segment: &Segment, ahead: i32) -> bool {
    match ahead {
        0 => segment.payload == 0,
        -1 => segment.payload <= 1 && !segment.has(flags::FIN),
        _ => false,
    }
}

/// A silent segment before the header has begun.
#[inline(always)]
fn on_silent(segment: &Segment, handshake: &Handshake, ahead: i32) -> Decision {
    if ahead < 0 {
        let (upto, unscaled) = (handshake.stream(), handshake.unscaled);
        return Decision::acknowledge(
            Counter::KeepAliveAnswered,
            Acknowledgment { upto, unscaled },
        );
    }
    if segment.has(flags::FIN) {
        return Decision::Reset(Counter::FinBeforeHeader);
    }
    Decision::Hold(Counter::AckDeferred)
}

/// The header that the handshake has begun.
#[inline(always)]
fn begun(segment: &Segment, memory: &Memory, handshake: &Handshake) -> Option<Begun> {
    parts::look_up(segment, memory).filter(|begun| begun.is_of(handshake))
}

/// What is remembered of the segment's SYN. What was left alone counts for its own handshake only: the header of a later one,
/// whose SYN no program has seen, must be judged. Leaves its flow in `memory.event`.
#[inline(always)]
fn recall(segment: &Segment, memory: &Memory) -> Option<Remembered> {
    set_flow(segment, memory);
    let handshake = HANDSHAKES.get_ptr(memory.key())?;
    // SAFETY: an element of the map; at worst it is another handshake's by now, whose numbers do not fit.
    let remembered = unsafe {
        Remembered {
            isn: Seq((*handshake).isn),
            hand_off: NonZeroU8::new((*handshake).hand_off)?,
            obstacle: (*handshake).reason,
            unscaled: (*handshake).unscaled,
        }
    };
    let is_another = remembered.hand_off.get() == flow::Handshake::LEFT
        && segment.sequence.ahead_of(remembered.isn) >= SPAN;
    (!is_another).then_some(remembered)
}
