//! The first segment with payload: its header is read, and the connection given to the application.

use proxyip_common::{
    counter::{Counter, DropReason, per_listener},
    event::EventKind,
    flow::{FlowKey, FlowRecord, HandOff},
};

use crate::{
    act::hand_over,
    decide::{latency, observed, policy, split, translated},
    decision::{Refusal, Verdict},
    frame::segment::Segment,
    header::{self, intact::is_intact},
    kernel::{bindings::BPF_ANY, platform::Platform, programs::TcContext},
    memory::Scratch,
    state::{
        counters::{count, count_listener},
        events,
        flows::{FLOWS, identify, name},
        namespace::settings,
        parts,
        sockets::Socket,
    },
};

/// Reads the header, records the flow and begins the hand-off that is in `scratch.hand_off`.
#[inline(always)]
pub fn run<P: Platform>(
    ctx: &TcContext,
    segment: &Segment,
    scratch: &mut Scratch,
    socket: &Socket,
) -> Verdict {
    let verdict = match record(ctx, segment, scratch) {
        Ok(()) if scratch.kept != 0 && parts::is_late(segment, scratch) => {
            let _ = FLOWS.remove(&scratch.event.key);
            Verdict::reset(DropReason::HeaderTimeout)
        }
        Ok(()) => begin::<P>(ctx, segment, scratch, socket),
        Err(Verdict::Refuse(DropReason::HeaderIncomplete, _)) => {
            return split::keep(ctx, segment, scratch);
        }
        Err(verdict) => verdict,
    };
    match verdict {
        Verdict::Refuse(DropReason::DeniedDropped, _) => {
            name(segment, scratch);
            policy::drop_denied(scratch)
        }
        Verdict::Refuse(reason @ DropReason::DeniedReset, _) => {
            name(segment, scratch);
            split::refuse(segment, scratch, reason)
        }
        Verdict::Refuse(reason, Refusal::Reset) => {
            identify(segment, scratch);
            split::refuse(segment, scratch, reason)
        }
        verdict => verdict,
    }
}

/// Reads the header; the flow is then in `scratch.event` and in the table.
#[inline(always)]
fn record(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Result<(), Verdict> {
    if !is_intact(ctx, segment, scratch) {
        return Err(Verdict::drop(DropReason::Checksum));
    }
    header::read(ctx, segment, scratch).map_err(Verdict::reset)?;
    let Some(settings) = settings() else {
        return Err(Verdict::drop(DropReason::FlowTable));
    };
    scratch.event.key = FlowKey::new(settings.cookie, segment.peer, segment.local);
    let inserted = FLOWS.insert(&scratch.event.key, &scratch.event.record, BPF_ANY.into());
    inserted.map_err(|_| Verdict::reset(DropReason::FlowTable))
}

#[inline(always)]
fn begin<P: Platform>(
    ctx: &TcContext,
    segment: &Segment,
    scratch: &mut Scratch,
    socket: &Socket,
) -> Verdict {
    const TRANSLATE: u8 = HandOff::Translate as u8;
    const OBSERVE: u8 = HandOff::Observe as u8;
    let denied = scratch.event.record.has(FlowRecord::DENIED);
    if denied {
        // Before it is cloned.
        policy::mark(ctx, segment);
    }
    latency::recall(scratch);
    let verdict = match scratch.hand_off {
        TRANSLATE => translated::begin(segment, scratch, socket.state()),
        OBSERVE => Verdict::Pass,
        _ if P::ACCEPT => match hand_over::build(ctx, segment, scratch, socket) {
            Ok(()) => Verdict::Pass,
            Err(verdict) => verdict,
        },
        _ => Verdict::drop(DropReason::AssignRefused),
    };
    if matches!(verdict, Verdict::Refuse(..) | Verdict::Hold(_)) {
        let _ = FLOWS.remove(&scratch.event.key);
        return verdict;
    }
    if scratch.hand_off == HandOff::Accept as u8 {
        parts::complete(scratch);
    } else {
        parts::forget(&scratch.event.key);
    }
    count(Counter::HandedOver);
    latency::count(segment, scratch);
    if denied {
        count(Counter::Marked);
        count_listener(segment.listener, per_listener::DENIED);
    }
    if scratch.event.record.has(FlowRecord::TLVS) {
        events::send_scratch(scratch, EventKind::Header, 0);
    }
    match scratch.hand_off {
        TRANSLATE => {}
        OBSERVE => {
            count_listener(segment.listener, per_listener::OBSERVE);
            observed::begin(scratch, socket);
        }
        // Rules of a firewall may refuse those: they are no part of the gap that is watched.
        _ if denied => {}
        _ => count_listener(segment.listener, per_listener::ACCEPT),
    }
    verdict
}
