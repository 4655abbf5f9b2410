//! The first segment with payload: its header is read, and the connection given to the application.

use proxyip_common::{
    address::{Client, Destination},
    counter::{Counter, DropReason, per_listener},
    event::EventKind,
    flow::{FlowKey, FlowRecord, Origin},
    header::Header,
    settings::ListenerSettings,
};

use crate::{
    decide::{latency, observed, policy, split, translated},
    decision::{Act, Decision, Ending},
    frame::segment::Segment,
    header::{self, intact::is_intact},
    kernel::{bindings::BPF_ANY, clock::now, packet::Buffered, platform::Platform},
    state::{
        counters::{ListenerCounters, count},
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
pub fn run<P: Platform, A: Act>(
    packet: &A::Packet,
    segment: &Segment,
    memory: &Memory,
) -> Decision {
    let decision = match read_and_record(packet, segment, memory) {
        Ok(()) if memory.header.kept.get() != 0 && parts::is_late(segment, memory) => {
            let _ = FLOWS.remove(memory.key());
            Decision::Refuse(DropReason::HeaderTimeout)
        }
        Ok(()) => hand_off::<P, A>(packet, segment, memory),
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
fn read_and_record(
    packet: &impl Buffered,
    segment: &Segment,
    memory: &Memory,
) -> Result<(), Decision> {
    // Nobody has looked yet at a segment of an established connection.
    if memory.handshake.get().hand_off == OBSERVE && !is_intact(packet) {
        return Err(Decision::Refuse(DropReason::Checksum));
    }
    let header = match header::read(packet, segment, &memory.header) {
        Err(DropReason::HeaderMissing) if split::may_be_headerless(segment, memory) => {
            memory.header.set_none();
            Ok(())
        }
        read => read,
    };
    header.and_then(|()| make_record(segment, memory)).map_err(Decision::Refuse)?;
    let Some(settings) = settings() else {
        return Err(Decision::Refuse(DropReason::FlowTable));
    };
    memory.set_key(FlowKey::new(settings.cookie, segment.peer, segment.local));
    let inserted = FLOWS.insert(memory.key(), memory.record(), BPF_ANY.into());
    inserted.map_err(|_| Decision::Refuse(DropReason::FlowTable))
}

#[inline(always)]
fn hand_off<P: Platform, A: Act>(
    packet: &A::Packet,
    segment: &Segment,
    memory: &Memory,
) -> Decision {
    let denied = memory.record().has(FlowRecord::DENIED);
    if denied {
        // Before it is cloned.
        policy::mark(packet, segment);
    }
    latency::recall(memory);
    let decision = match memory.handshake.get().hand_off {
        TRANSLATE => translated::translate(segment, memory),
        OBSERVE => Decision::Pass,
        _ if P::ACCEPT => match A::hand_over(packet, segment, memory) {
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
        observed::fill_mark(packet, segment, memory);
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
    if denied {
        count(Counter::Marked);
    }
    if memory.record().has(FlowRecord::TLVS) {
        events::send_from(memory, EventKind::Header, 0);
    }
    if let Some(counters) = ListenerCounters::of(segment.listener) {
        count_for_listener(memory, counters);
    }
}

/// Counts a connection that is handed over among its listener's.
#[inline(always)]
fn count_for_listener(memory: &Memory, counters: &ListenerCounters) {
    latency::count(memory, counters);
    let denied = memory.record().has(FlowRecord::DENIED);
    if denied {
        counters.count(per_listener::DENIED);
    }
    if memory.record().version == 0 {
        counters.count(per_listener::HEADERLESS);
    }
    match memory.handshake.get().hand_off {
        TRANSLATE => {}
        OBSERVE => counters.count(per_listener::OBSERVE),
        // Rules of a firewall may refuse those: they are no part of the gap that is watched.
        _ if denied => {}
        _ => counters.count(per_listener::ACCEPT),
    }
}

/// Applies the listener's settings and makes the record.
#[inline(never)]
fn make_record(segment: &Segment, memory: &Memory) -> Result<(), DropReason> {
    let listener = LISTENERS.get(segment.listener.into()).ok_or(DropReason::VersionRefused)?;
    let header = memory.header.header();
    let version = match header.version {
        0 => 0,
        1 => ListenerSettings::V1,
        _ => ListenerSettings::V2,
    };
    if !listener.has(version) {
        return Err(DropReason::VersionRefused);
    }
    let origin = match header.origin {
        Origin::Proxied if describes(segment, header) => Origin::Local,
        Origin::Unknown if listener.has(ListenerSettings::REFUSE_UNKNOWN) => {
            return Err(DropReason::UnknownRefused);
        }
        Origin::Unknown if listener.has(ListenerSettings::UNKNOWN_IS_LOCAL) => Origin::Local,
        origin => origin,
    };
    let (client, destination) = match origin {
        Origin::Proxied => (header.client, header.destination),
        Origin::Unknown | Origin::Local => (Client(segment.peer.0), Destination(segment.local.0)),
    };
    let mut flags = if header.tlvs < header.length { FlowRecord::TLVS } else { 0 };
    if header.datagram {
        flags |= FlowRecord::DATAGRAM;
    }
    if header.length > u32::from(u16::MAX) {
        flags |= FlowRecord::LONG;
    }
    memory.set_record(FlowRecord {
        handed_over_ns: now(),
        established_ns: 0,
        received_at_fin_wait: 0,
        client,
        destination,
        listener: segment.listener,
        header_length: header.length as u16,
        version: header.version,
        origin: origin as u8,
        flags,
        hand_off: memory.handshake.get().hand_off,
    });
    policy::judge_client(segment, memory)
}

/// Whether the header describes nothing but the connection that it comes on: the load balancer's own, such as a health
/// check of HAProxy with version 1, which has no LOCAL.
///
/// The client must be the peer, and the destination this host's end. A load balancer that keeps the clients' addresses
/// names the peer too, but another destination: a list must find those clients.
#[inline(always)]
fn describes(segment: &Segment, header: &Header) -> bool {
    header.client.0.words() == segment.peer.0.words() && header.destination.0 == segment.local.0
}
