//! The translate hand-off: the kernel does its own handshake, and sequence numbers are translated.
//!
//! 1. A SYN passes, and its sequence number is remembered.
//! 2. The handshake's bare ACK is dropped, so that the connection is not established yet.
//! 3. The first segment with payload brings the header. From now on each segment's sequence number is lowered by the
//!    header's length, and acknowledgments are raised by it ([`crate::hooks::egress`]). The header's bytes then lie
//!    before what TCP expects, and TCP trims them as data already received.

use proxyip_common::{
    counter::{Counter, DropReason, Obstacle},
    flow::{HandOff, Handshake},
    settings::NamespaceSettings,
};

use crate::{
    decide::{
        acknowledge::acknowledge,
        observed::{self, hides_header},
    },
    decision::{Act, Decision},
    frame::{options, segment::Segment, tcp::flags},
    kernel::{bindings::BPF_ANY, clock::now, programs::TcContext},
    state::{
        flows::{remove_flow, set_flow},
        handshakes::HANDSHAKES,
        in_use::{self, set_used},
        memory::Memory,
        namespace::settings,
        parts,
        policies::{self, trusted},
        translations::is_in_use,
    },
};

/// Lets a SYN pass and remembers it, with the hand-off and its reason that are in `memory`.
#[inline(never)]
pub fn remember_syn<A: Act>(ctx: &TcContext, segment: &Segment, memory: &Memory) -> Decision {
    remove_flow(segment, memory);
    if !options::read(ctx, segment, &memory.options) {
        return Decision::Refuse(DropReason::TranslateFailed);
    }
    let translate = memory.hand_off.get() == HandOff::Translate as u8;
    if translate && memory.options.received.signed.get() {
        // A signature covers the sequence numbers. A kernel that does not know it ignores it, so it must not pass.
        return Decision::Refuse(DropReason::Signed);
    }
    let handshake = Handshake {
        since_ns: now(),
        isn: segment.sequence,
        hand_off: memory.hand_off.get(),
        reason: memory.reason.get(),
        unscaled: u8::from(
            memory.options.received.window_scale.get().is_none() || !window_scaling_on(),
        ),
        reserved: 0,
    };
    set_used(in_use::TRANSLATE);
    if HANDSHAKES.insert(memory.key(), &handshake, BPF_ANY.into()).is_err() {
        return Decision::Refuse(DropReason::TranslateFailed);
    }
    if !A::open(ctx, segment, memory) {
        return Decision::Refuse(DropReason::TranslateFailed);
    }
    Decision::Pass
}

/// Whether this namespace's stack window_scaling_on windows.
#[inline(always)]
fn window_scaling_on() -> bool {
    settings().is_some_and(|settings| settings.has(NamespaceSettings::WINDOW_SCALING))
}

/// A SYN whose handshake is under way.
#[inline(never)]
pub fn on_repeated_syn(segment: &Segment, memory: &Memory) -> Decision {
    if recall(segment, memory) && memory.isn.get() == segment.sequence {
        return Decision::Pass;
    }
    Decision::LeaveToKernel(Obstacle::LivingSocket)
}

/// A segment that finds the request socket of a handshake.
#[inline(never)]
pub fn on_request(ctx: &TcContext, segment: &Segment, memory: &Memory) -> Decision {
    let (trusted, recalled) = (trusted(segment), recall(segment, memory));
    if recalled {
        return on_remembered(ctx, segment, memory, trusted);
    }
    if !trusted || policies::may_leave(segment) {
        return Decision::Pass;
    }
    Decision::reset_both(DropReason::HandshakeUnknown, memory, segment.sequence)
}

/// Whether a segment that finds the listening socket is of a handshake that the kernel did: it has no request
/// socket because it sent a SYN cookie, or because it has given the handshake up.
#[inline(never)]
pub fn is_forgotten(segment: &Segment, memory: &Memory) -> bool {
    is_in_use() && recall(segment, memory)
}

/// A segment of a handshake that is remembered, and that found no request socket.
#[inline(always)]
pub fn on_forgotten(ctx: &TcContext, segment: &Segment, memory: &Memory) -> Decision {
    on_remembered(ctx, segment, memory, trusted(segment))
}

/// Passed on, the segment of a source that is trusted no longer would bring its header to the application, unjudged.
#[inline(always)]
fn on_remembered(ctx: &TcContext, segment: &Segment, memory: &Memory, trusted: bool) -> Decision {
    if trusted {
        return on_waiting(ctx, segment, memory);
    }
    let expected = memory.isn.get().wrapping_add(1);
    Decision::reset_both(DropReason::TrustWithdrawn, memory, expected)
}

/// A segment of a handshake that awaits the header; what was remembered of it is in `memory`.
#[inline(never)]
pub fn on_waiting(ctx: &TcContext, segment: &Segment, memory: &Memory) -> Decision {
    const TRANSLATE: u8 = HandOff::Translate as u8;
    const OBSERVE: u8 = HandOff::Observe as u8;
    let ahead = segment.sequence.wrapping_sub(memory.isn.get().wrapping_add(1)).cast_signed();
    let hand_off = memory.hand_off.get();
    match hand_off {
        OBSERVE => match (ahead, segment.payload) {
            (0, 1..) => Decision::First,
            (1.., 1..) if has_begun(segment, memory) => observed::on_part(segment, memory),
            // The application must not see a connection whose client is still to be judged.
            _ if is_silent(segment, ahead) && policies::judges(segment) => {
                on_silent(ctx, segment, memory, ahead)
            }
            // Every segment that lies ahead acknowledges the handshake too: a FIN, or the answer to a repeated
            // SYN-ACK.
            _ if ahead > 0 && policies::judges(segment) => Decision::Hold(Counter::OutOfOrder),
            _ if hides_header(segment, ahead) => Decision::Hold(Counter::OutOfOrder),
            _ => Decision::Pass,
        },
        TRANSLATE => match (ahead, segment.payload) {
            (0, 0) if has_begun(segment, memory) => Decision::Part,
            (0, 1..) => Decision::First,
            _ if is_silent(segment, ahead) => on_silent(ctx, segment, memory, ahead),
            _ if has_begun(segment, memory) => Decision::Part,
            _ => Decision::Hold(Counter::OutOfOrder),
        },
        _ => Decision::Pass,
    }
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

/// Judges a silent segment before the header has begun.
#[inline(always)]
fn on_silent(ctx: &TcContext, segment: &Segment, memory: &Memory, ahead: i32) -> Decision {
    if ahead < 0 {
        return acknowledge(ctx, segment, memory, Counter::KeepAliveAnswered);
    }
    if segment.has(flags::FIN) {
        return Decision::Reset(Counter::FinBeforeHeader);
    }
    Decision::Hold(Counter::AckDeferred)
}

/// Whether the handshake that is in `memory` has begun a header.
#[inline(always)]
fn has_begun(segment: &Segment, memory: &Memory) -> bool {
    let (isn, hand_off) = (memory.isn.get(), memory.hand_off.get());
    let found = parts::find(segment, memory)
        && memory.isn.get() == isn
        && memory.hand_off.get() == hand_off;
    memory.isn.set(isn);
    memory.hand_off.set(hand_off);
    found
}

/// Puts into `memory` what is remembered of the segment's SYN, and its flow; false if that is nothing.
#[inline(always)]
fn recall(segment: &Segment, memory: &Memory) -> bool {
    set_flow(segment, memory);
    let Some(handshake) = HANDSHAKES.get_ptr(memory.key()) else { return false };
    // SAFETY: an element of the map; at worst it is another handshake's by now, whose numbers do not fit.
    unsafe {
        memory.isn.set((*handshake).isn);
        memory.hand_off.set((*handshake).hand_off);
        memory.reason.set((*handshake).reason);
        memory.unscaled.set((*handshake).unscaled != 0);
    }
    memory.acknowledged.set(0);
    memory.header.kept.set(0);
    memory.header.skipped.set(0);
    true
}
