//! The translate hand-off: the kernel does its own handshake, and sequence numbers are translated.
//!
//! 1. A SYN passes, and its sequence number is remembered.
//! 2. The handshake's bare ACK is dropped, so that the connection is not established yet.
//! 3. The first segment with payload brings the header. From now on each segment's sequence number is lowered by the
//!    header's length, and acknowledgments are raised by it ([`crate::hooks::egress`]). The header's bytes then lie
//!    before what TCP expects, and TCP trims them as data already received.

use proxyip_common::{
    counter::{Counter, DropReason, Reason},
    flow::{HandOff, Handshake},
    settings::NamespaceSettings,
};

use crate::{
    act::rewrite::{self, trim},
    decide::{
        acknowledge::acknowledge,
        observed::{self, hides_header},
    },
    decision::Verdict,
    frame::{options, segment::Segment, tcp::flags},
    kernel::{bindings::BPF_ANY, clock::now, programs::TcContext},
    memory::Scratch,
    state::{
        flows::{forget, identify},
        handshakes::HANDSHAKES,
        in_use::{self, set_used},
        namespace::settings,
        parts,
        policies::{self, trusted},
        translations::is_in_use,
    },
};

/// Lets a SYN pass and remembers it, with the hand-off and its reason that are in `scratch`.
#[inline(never)]
pub fn expect(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Verdict {
    forget(segment, scratch);
    if !options::read(ctx, segment, scratch) {
        return Verdict::drop(DropReason::TranslateFailed);
    }
    let translate = scratch.hand_off == HandOff::Translate as u8;
    if translate && scratch.received.signed {
        // A signature covers the sequence numbers. A kernel that does not know it ignores it, so it must not pass.
        return Verdict::reset(DropReason::Signed);
    }
    let handshake = Handshake {
        since_ns: now(),
        isn: segment.sequence,
        hand_off: scratch.hand_off,
        reason: scratch.reason,
        unscaled: u8::from(scratch.received.window_scale.is_none() || !scales()),
        reserved: 0,
    };
    set_used(in_use::TRANSLATE);
    if HANDSHAKES.insert(&scratch.event.key, &handshake, BPF_ANY.into()).is_err() {
        return Verdict::drop(DropReason::FlowTable);
    }
    if !rewrite::blank(ctx, segment, scratch) || !cut_payload(ctx, segment, scratch) {
        return Verdict::drop(DropReason::TranslateFailed);
    }
    Verdict::Pass
}

/// Whether this namespace's stack scales windows.
#[inline(always)]
fn scales() -> bool {
    settings().is_some_and(|settings| settings.has(NamespaceSettings::WINDOW_SCALING))
}

/// Cuts off what a SYN carries: with TCP Fast Open the application would get it at once. It comes again, behind the
/// handshake. False if that failed.
#[inline(always)]
fn cut_payload(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> bool {
    segment.payload == 0 || trim(ctx, segment, scratch, segment.sequence, segment.flags)
}

/// A SYN whose handshake is under way.
#[inline(never)]
pub fn judge_repeated_syn(segment: &Segment, scratch: &mut Scratch) -> Verdict {
    if recall(segment, scratch) && scratch.isn == segment.sequence {
        return Verdict::Pass;
    }
    Verdict::LeaveToKernel(Reason::LivingSocket)
}

/// A segment that finds the request socket of a handshake.
#[inline(never)]
pub fn judge_request(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Verdict {
    let (trusted, recalled) = (trusted(segment), recall(segment, scratch));
    if recalled {
        return judge_remembered(ctx, segment, scratch, trusted);
    }
    if !trusted || policies::may_leave(segment) {
        return Verdict::Pass;
    }
    Verdict::reset_both(DropReason::HandshakeUnknown, scratch, segment.sequence)
}

/// Whether a segment that finds the listening socket is of a handshake that the kernel did: it has no request
/// socket because it sent a SYN cookie, or because it has given the handshake up.
#[inline(never)]
pub fn is_forgotten(segment: &Segment, scratch: &mut Scratch) -> bool {
    is_in_use() && recall(segment, scratch)
}

/// A segment of a handshake that is remembered, and that found no request socket.
#[inline(always)]
pub fn judge_forgotten(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Verdict {
    judge_remembered(ctx, segment, scratch, trusted(segment))
}

/// Passed on, the segment of a source that is trusted no longer would bring its header to the application, unjudged.
#[inline(always)]
fn judge_remembered(
    ctx: &TcContext,
    segment: &Segment,
    scratch: &mut Scratch,
    trusted: bool,
) -> Verdict {
    if trusted {
        return judge_waiting(ctx, segment, scratch);
    }
    let expected = scratch.isn.wrapping_add(1);
    Verdict::reset_both(DropReason::TrustWithdrawn, scratch, expected)
}

/// A segment of a handshake that awaits the header; what was remembered of it is in `scratch`.
#[inline(never)]
pub fn judge_waiting(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Verdict {
    const TRANSLATE: u8 = HandOff::Translate as u8;
    const OBSERVE: u8 = HandOff::Observe as u8;
    let ahead = segment.sequence.wrapping_sub(scratch.isn.wrapping_add(1)).cast_signed();
    let hand_off = scratch.hand_off;
    match hand_off {
        OBSERVE => match (ahead, segment.payload) {
            (0, 1..) => Verdict::First,
            (1.., 1..) if has_begun(segment, scratch) => observed::judge_part(segment, scratch),
            // The application must not see a connection whose client is still to be judged.
            _ if is_silent(segment, ahead) && policies::judges(segment) => {
                judge_silent(ctx, segment, scratch, ahead)
            }
            // Whatever lies ahead acknowledges the handshake too: a FIN, or the answer to a SYN-ACK that is repeated.
            _ if ahead > 0 && policies::judges(segment) => Verdict::Hold(Counter::OutOfOrder),
            _ if hides_header(segment, ahead) => Verdict::Hold(Counter::OutOfOrder),
            _ => Verdict::Pass,
        },
        TRANSLATE => match (ahead, segment.payload) {
            (0, 0) if has_begun(segment, scratch) => Verdict::Part,
            (0, 1..) => Verdict::First,
            _ if is_silent(segment, ahead) => judge_silent(ctx, segment, scratch, ahead),
            _ if has_begun(segment, scratch) => Verdict::Part,
            _ => Verdict::Hold(Counter::OutOfOrder),
        },
        _ => Verdict::Pass,
    }
}

/// Whether a segment that is `ahead` of the payload's beginning brings nothing new: the handshake's bare ACK, the end, or a
/// keep-alive probe (RFC 9293 §3.8.4), which lies one behind.
#[inline(always)]
fn is_silent(segment: &Segment, ahead: i32) -> bool {
    match ahead {
        0 => segment.payload == 0,
        -1 => segment.payload <= 1 && !segment.has(flags::FIN),
        _ => false,
    }
}

/// Judges such a segment before the header has begun.
#[inline(always)]
fn judge_silent(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch, ahead: i32) -> Verdict {
    if ahead < 0 {
        return acknowledge(ctx, segment, scratch, Counter::KeepAliveAnswered);
    }
    if segment.has(flags::FIN) {
        return Verdict::Reset(Counter::FinBeforeHeader);
    }
    Verdict::Hold(Counter::AckDeferred)
}

/// Whether the handshake that is in `scratch` has begun a header.
#[inline(always)]
fn has_begun(segment: &Segment, scratch: &mut Scratch) -> bool {
    let (isn, hand_off) = (scratch.isn, scratch.hand_off);
    let found = parts::find(segment, scratch) && scratch.isn == isn && scratch.hand_off == hand_off;
    (scratch.isn, scratch.hand_off) = (isn, hand_off);
    found
}

/// Puts into `scratch` what is remembered of the segment's SYN, and its flow; false if that is nothing.
#[inline(always)]
fn recall(segment: &Segment, scratch: &mut Scratch) -> bool {
    identify(segment, scratch);
    let Some(handshake) = HANDSHAKES.get_ptr(&scratch.event.key) else { return false };
    // SAFETY: an element of the map; at worst it is another handshake's by now, whose numbers do not fit.
    unsafe {
        scratch.isn = (*handshake).isn;
        scratch.hand_off = (*handshake).hand_off;
        scratch.reason = (*handshake).reason;
        scratch.unscaled = (*handshake).unscaled != 0;
    }
    scratch.acknowledged = 0;
    scratch.kept = 0;
    scratch.skipped = 0;
    true
}
