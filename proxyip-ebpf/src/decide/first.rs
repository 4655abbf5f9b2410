//! The first segment with payload: its header is read, and the connection given to the application.

use proxyip_common::{
    address::{Client, Destination},
    counter::{Counter, DropReason, per_listener},
    event::EventKind,
    flow::{FlowKey, FlowRecord, Origin},
    settings::ListenerSettings,
};

use crate::{
    decide::{latency, observed, policy, split, translated},
    decision::{Act, Decision, Ending},
    frame::segment::Segment,
    header::{self, intact::is_intact},
    kernel::{bindings::BPF_ANY, clock::now, platform::Platform, programs::TcContext},
    state::{
        counters::{count, count_listener},
        events,
        flows::{FLOWS, set_flow, set_key},
        handshakes::{ACCEPT, OBSERVE, TRANSLATE},
        listeners::LISTENERS,
        memory::Memory,
        namespace::settings,
        parts,
    },
};

/// Reads the header, records the flow and begins the hand-off of `memory.handshake`.
#[inline(always)]
pub fn run<P: Platform, A: Act>(ctx: &TcContext, segment: &Segment, memory: &Memory) -> Decision {
    let decision = match read_and_record(ctx, segment, memory) {
        Ok(()) if memory.header.kept.get() != 0 && parts::is_late(segment, memory) => {
            let _ = FLOWS.remove(memory.key());
            Decision::Refuse(DropReason::HeaderTimeout)
        }
        Ok(()) => hand_off::<P, A>(ctx, segment, memory),
        Err(Decision::Refuse(DropReason::HeaderIncomplete)) => {
            return split::keep(segment, memory);
        }
        Err(decision) => decision,
    };
    match decision {
        Decision::Refuse(DropReason::DeniedDropped) => {
            set_key(segment, memory);
            policy::drop_denied(memory)
        }
        Decision::Refuse(reason @ DropReason::DeniedReset) => {
            set_key(segment, memory);
            split::refuse(segment, memory, reason)
        }
        Decision::Refuse(reason) if Ending::of(reason) == Ending::Reset => {
            set_flow(segment, memory);
            split::refuse(segment, memory, reason)
        }
        decision => decision,
    }
}

/// Reads the header; the flow is then in `memory.event` and in the table.
#[inline(always)]
fn read_and_record(ctx: &TcContext, segment: &Segment, memory: &Memory) -> Result<(), Decision> {
    if !is_intact(ctx, segment, &memory.summing) {
        return Err(Decision::Refuse(DropReason::Checksum));
    }
    header::read(ctx, segment, &memory.header)
        .and_then(|()| make_record(segment, memory))
        .map_err(Decision::Refuse)?;
    let Some(settings) = settings() else {
        return Err(Decision::Refuse(DropReason::FlowTable));
    };
    memory.set_key(FlowKey::new(settings.cookie, segment.peer, segment.local));
    let inserted = FLOWS.insert(memory.key(), memory.record(), BPF_ANY.into());
    inserted.map_err(|_| Decision::Refuse(DropReason::FlowTable))
}

#[inline(always)]
fn hand_off<P: Platform, A: Act>(ctx: &TcContext, segment: &Segment, memory: &Memory) -> Decision {
    let denied = memory.record().has(FlowRecord::DENIED);
    if denied {
        // Before it is cloned.
        policy::mark(ctx, segment);
    }
    latency::recall(memory);
    let decision = match memory.handshake.get().hand_off {
        TRANSLATE => translated::translate(segment, memory),
        OBSERVE => Decision::Pass,
        _ if P::ACCEPT => match A::hand_over(ctx, segment, memory) {
            Ok(()) => Decision::Pass,
            Err(decision) => decision,
        },
        _ => Decision::Refuse(DropReason::AssignRefused),
    };
    if matches!(decision, Decision::Refuse(_) | Decision::RefuseBoth(..) | Decision::Hold(_)) {
        let _ = FLOWS.remove(memory.key());
        return decision;
    }
    handed_over(segment, memory);
    if memory.handshake.get().hand_off == OBSERVE {
        observed::fill_mark(ctx, segment, memory);
    }
    decision
}

/// Counts and reports a connection that is handed over. Not inlined: it needs no room on the stack of what follows.
#[inline(never)]
fn handed_over(segment: &Segment, memory: &Memory) {
    let denied = memory.record().has(FlowRecord::DENIED);
    if memory.handshake.get().hand_off == ACCEPT {
        parts::complete(memory);
    } else {
        parts::remove(memory.key());
    }
    count(Counter::HandedOver);
    latency::count(segment, memory);
    if denied {
        count(Counter::Marked);
        count_listener(segment.listener, per_listener::DENIED);
    }
    if memory.record().has(FlowRecord::TLVS) {
        events::send_from(memory, EventKind::Header, 0);
    }
    match memory.handshake.get().hand_off {
        TRANSLATE => {}
        OBSERVE => count_listener(segment.listener, per_listener::OBSERVE),
        // Rules of a firewall may refuse those: they are no part of the gap that is watched.
        _ if denied => {}
        _ => count_listener(segment.listener, per_listener::ACCEPT),
    }
}

/// Applies the listener's settings and makes the record.
#[inline(never)]
fn make_record(segment: &Segment, memory: &Memory) -> Result<(), DropReason> {
    let listener = LISTENERS.get(segment.listener.into()).ok_or(DropReason::VersionRefused)?;
    let header = memory.header.header();
    let version = if header.version == 1 { ListenerSettings::V1 } else { ListenerSettings::V2 };
    if !listener.has(version) {
        return Err(DropReason::VersionRefused);
    }
    let (client, destination) = match header.origin {
        Origin::Proxied => (header.client, header.destination),
        Origin::Unknown if listener.has(ListenerSettings::REFUSE_UNKNOWN) => {
            return Err(DropReason::UnknownRefused);
        }
        Origin::Unknown | Origin::Local => (Client(segment.peer.0), Destination(segment.local.0)),
    };
    memory.set_record(FlowRecord {
        handed_over_ns: now(),
        established_ns: 0,
        received_at_fin_wait: 0,
        client,
        destination,
        listener: segment.listener,
        header_length: header.length,
        version: header.version,
        origin: header.origin as u8,
        flags: if header.tlvs < header.length { FlowRecord::TLVS } else { 0 },
        hand_off: memory.handshake.get().hand_off,
    });
    policy::judge_client(segment, memory)
}
