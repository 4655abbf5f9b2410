//! What to do with each segment that comes in for a guarded port.

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
    decide::translated::Known,
    decision::{Act, Decision},
    frame::{
        segment::{RETIRED_LISTENER, Segment, Shape},
        tcp::flags,
    },
    kernel::{packet::take_queued_mark, platform::Platform, programs::TcContext},
    state::{
        memory::Memory,
        policies::trusted,
        sockets::{Socket, State},
    },
};

/// Decides on one segment.
#[inline(always)]
pub fn decide<P: Platform, A: Act>(
    ctx: &TcContext,
    segment: &Segment,
    memory: &Memory,
) -> Decision {
    memory.requeued.set(take_queued_mark(ctx));
    memory.hand_off.set(0);
    let known = translated::look_up(ctx, segment, memory);
    if let Known::Living(decision) = known {
        return decision;
    }
    let syn = match segment.flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN) {
        flags::SYN => true,
        set if set & (flags::SYN | flags::RST) == 0 && set & flags::ACK != 0 => false,
        set if set & flags::RST != 0 => {
            policy::mark_reset(ctx, segment);
            return split::on_reset(segment, memory);
        }
        _ => return Decision::Pass,
    };
    let Some(socket) = Socket::find(ctx, segment) else {
        return if syn { Decision::PassCounted(Counter::NoListener) } else { Decision::Pass };
    };
    let state = socket.state();
    match known {
        Known::Queued => return translated::on_queued(ctx, segment, memory, state),
        Known::Superseded(shift) => {
            if let Some(decision) = translated::on_superseded(memory, state, shift) {
                return decision;
            }
        }
        Known::Nothing | Known::Living(_) => {}
    }
    let opening = matches!(state, State::Listening | State::Request);
    if syn || opening && segment.shape != Shape::Plain {
        memory.mptcp.set(P::ACCEPT && state == State::Listening && socket.is_mptcp());
        drop(socket);
        memory.state.set(state);
        return opening::on_opening::<P, A>(ctx, segment, memory);
    }
    let mut decision = after_opening::<P>(ctx, segment, memory, &socket, state);
    if let Decision::Part = decision {
        decision = split::on_part(ctx, segment, memory);
    }
    match decision {
        Decision::First => first::run::<P, A>(ctx, segment, memory, &socket),
        decision => decision,
    }
}

/// A segment that neither begins a connection nor belongs to one that is translated.
#[inline(always)]
fn after_opening<P: Platform>(
    ctx: &TcContext,
    segment: &Segment,
    memory: &Memory,
    socket: &Socket,
    state: State,
) -> Decision {
    if segment.listener == RETIRED_LISTENER {
        return Decision::Pass;
    }
    match state {
        State::Connected => {
            policy::notice_header(ctx, segment);
            policy::mark_later(ctx, segment, socket);
            observed::on_established(segment, memory, socket)
        }
        // A firewall rule reset the bare ACK that this clone was queued behind: there is no translation any more.
        State::Request | State::Listening if memory.requeued.get() => {
            Decision::Refuse(DropReason::PayloadWithoutSocket)
        }
        State::Request => waiting::on_request(ctx, segment, memory),
        State::Listening if waiting::is_forgotten(segment, memory) => {
            waiting::on_forgotten(ctx, segment, memory)
        }
        State::Listening if P::ACCEPT && !socket.is_mptcp() => cookie::on_ack(ctx, segment, memory),
        State::Listening if trusted(segment) => cookie::on_foreign(ctx, segment),
        State::Listening | State::TimeWait => Decision::Pass,
    }
}
