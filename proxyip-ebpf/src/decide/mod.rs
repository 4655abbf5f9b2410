//! The verdict on each segment that comes in for a guarded port.

pub mod acknowledge;
pub mod cookie;
pub mod first;
pub mod latency;
pub mod observed;
pub mod opening;
pub mod outgoing;
pub mod policy;
pub mod split;
pub mod syn;
pub mod translated;
pub mod waiting;

use proxyip_common::counter::{Counter, DropReason};

use crate::{
    decide::{cookie::judge_foreign, opening::judge_opening, translated::Known},
    decision::Verdict,
    frame::{
        segment::{RETIRED_LISTENER, Segment, Shape},
        tcp::flags,
    },
    kernel::{packet::take_clone, platform::Platform, programs::TcContext},
    memory::Scratch,
    state::{
        policies::trusted,
        sockets::{Socket, State},
    },
};

/// Decides on one segment.
#[inline(always)]
pub fn judge<P: Platform>(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Verdict {
    scratch.clone = take_clone(ctx);
    scratch.hand_off = 0;
    let known = translated::find(ctx, segment, scratch);
    if let Known::Living(verdict) = known {
        return verdict;
    }
    let syn = match segment.flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN) {
        flags::SYN => true,
        set if set & (flags::SYN | flags::RST) == 0 && set & flags::ACK != 0 => false,
        set if set & flags::RST != 0 => {
            policy::mark_reset(ctx, segment);
            return split::judge_reset(segment, scratch);
        }
        _ => return Verdict::Pass,
    };
    let Some(socket) = Socket::find(ctx, segment) else {
        return if syn { Verdict::PassCounted(Counter::NoListener) } else { Verdict::Pass };
    };
    let state = socket.state();
    match known {
        Known::Queued => return translated::judge_queued(ctx, segment, scratch, state),
        Known::Superseded(shift) => {
            if let Some(verdict) = translated::judge_superseded(scratch, state, shift) {
                return verdict;
            }
        }
        Known::Nothing | Known::Living(_) => {}
    }
    let opening = matches!(state, State::Listening | State::Request);
    if syn || opening && segment.shape != Shape::Plain {
        scratch.mptcp = P::ACCEPT && state == State::Listening && socket.is_mptcp();
        drop(socket);
        scratch.state = state;
        return judge_opening::<P>(ctx, segment, scratch);
    }
    let mut verdict = judge_later::<P>(ctx, segment, scratch, &socket, state);
    if let Verdict::Part = verdict {
        verdict = split::judge(ctx, segment, scratch);
    }
    match verdict {
        Verdict::First => first::run::<P>(ctx, segment, scratch, &socket),
        verdict => verdict,
    }
}

/// A segment that neither begins a connection nor belongs to one that is translated.
#[inline(always)]
fn judge_later<P: Platform>(
    ctx: &TcContext,
    segment: &Segment,
    scratch: &mut Scratch,
    socket: &Socket,
    state: State,
) -> Verdict {
    if segment.listener == RETIRED_LISTENER {
        return Verdict::Pass;
    }
    match state {
        State::Connected => {
            policy::notice_header(ctx, segment);
            policy::mark_later(ctx, segment, socket);
            observed::judge(segment, scratch, socket)
        }
        // A rule has answered the bare ACK before it with a RST, which has ended the translation.
        State::Request | State::Listening if scratch.clone => {
            Verdict::drop(DropReason::PayloadWithoutSocket)
        }
        State::Request => waiting::judge_request(ctx, segment, scratch),
        State::Listening if waiting::is_forgotten(segment, scratch) => {
            waiting::judge_forgotten(ctx, segment, scratch)
        }
        State::Listening if P::ACCEPT && !socket.is_mptcp() => {
            cookie::judge_ack(ctx, segment, scratch)
        }
        State::Listening if trusted(segment) => judge_foreign(ctx, segment),
        State::Listening | State::TimeWait => Verdict::Pass,
    }
}
