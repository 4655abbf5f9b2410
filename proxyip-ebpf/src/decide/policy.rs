//! Who may connect: a listener's policy on the sources of segments, and on the clients that headers name.

use proxyip_common::{
    counter::{Counter, DropReason, per_listener},
    flow::{FlowRecord, Origin},
    partial::PartialHeader,
    policy::Rules,
    settings::{Denied, ListenerSettings, ScopedAddress, Untrusted, access},
};

use crate::{
    decide::found::find,
    decision::Decision,
    frame::segment::{Segment, Shape},
    header::intact::is_intact,
    kernel::{
        bindings::BPF_ANY,
        btf_maps::lpm_trie::Key,
        packet::{Buffered, Packet},
        platform::Platform,
    },
    state::{
        counters::{count, count_listener},
        denied::DROPPED,
        listeners::LISTENERS,
        memory::Memory,
        networks::CLIENTS,
        parts,
        policies::{self, trusted},
        sources::note_untrusted,
    },
};

/// What happens to the SYN of a source that is not trusted.
#[inline(always)]
pub fn on_untrusted(packet: &impl Buffered, rules: Rules, segment: &Segment) -> Decision {
    const RESET: u8 = Untrusted::Reset as u8;
    const DROP: u8 = Untrusted::Drop as u8;
    let reason = match rules.untrusted() {
        // A RST is written as a plain packet, and a device would complete its checksum where the TCP header was. A
        // fragment may not even show the number that the RST would have to acknowledge.
        RESET if segment.shape != Shape::Plain => DropReason::UntrustedDropped,
        RESET => DropReason::UntrustedReset,
        DROP => DropReason::UntrustedDropped,
        _ => return Decision::PassCounted(Counter::Bypassed),
    };
    // Whose address that is, is not known.
    if segment.shape == Shape::Plain && !is_intact(packet) {
        return Decision::Refuse(DropReason::Checksum);
    }
    note_untrusted(segment);
    Decision::Refuse(reason)
}

/// Judges the client of the record in `memory.event`; of one that is let through with a mark it says so.
///
/// The load balancer itself may always connect. Who the client is must be known to find it on a list.
///
/// # Errors
/// Why the connection must be refused.
#[inline(always)]
pub fn judge_client(segment: &Segment, memory: &Memory) -> Result<(), DropReason> {
    const MARK: u8 = Denied::Mark as u8;
    const DROP: u8 = Denied::Drop as u8;
    let record = memory.record();
    // While the listener is being removed there is none.
    let Some(rules) = policies::rules_of(segment.listener) else {
        return Err(DropReason::DeniedReset);
    };
    if !rules.judges() || record.origin == Origin::Local as u8 {
        return Ok(());
    }
    let found = if record.origin == Origin::Proxied as u8 {
        let client = ScopedAddress::new(rules.scope(), &record.client.0);
        CLIENTS.get(&Key::new(ScopedAddress::BITS, client))
    } else {
        None
    };
    if found.copied().unwrap_or(rules.otherwise()) & access::ALLOWED != 0 {
        return Ok(());
    }
    match rules.denied() {
        MARK => {
            memory.change_record(|record| record.flags |= FlowRecord::DENIED);
            Ok(())
        }
        DROP => Err(DropReason::DeniedDropped),
        _ => Err(DropReason::DeniedReset),
    }
}

/// Drops a first segment because its client is denied. The peer sends it again and again; only the first one is
/// reported.
#[inline(never)]
pub fn drop_denied(memory: &Memory) -> Decision {
    if let Some(isn) = DROPPED.get_ptr(memory.key())
        // SAFETY: an element of the map; at worst it is another flow's by now, whose number does not fit.
        && unsafe { *isn } == memory.handshake.get().isn.0
    {
        return Decision::Hold(Counter::DeniedAgain);
    }
    // If it cannot be remembered, it is reported once more.
    let _ = DROPPED.insert(memory.key(), &memory.handshake.get().isn.0, BPF_ANY.into());
    parts::end(memory, PartialHeader::DROPPED);
    Decision::Refuse(DropReason::DeniedDropped)
}

/// Marks a segment of a connection whose client is denied, for the rules of a firewall.
#[inline(never)]
pub fn mark(packet: &impl Buffered, segment: &Segment) {
    let Some(mark) = policies::mark_of(segment.listener) else { return };
    packet.add_mark(mark);
}

/// Marks a RST too. The socket is looked up only if the RST may have to be marked.
#[inline(never)]
pub fn mark_reset<P: Platform>(packet: &impl Buffered, segment: &Segment, memory: &Memory) {
    let listener = LISTENERS.get(segment.listener.into());
    if !listener.is_some_and(|listener| listener.has(ListenerSettings::MARKS)) {
        return;
    }
    find::<P>(packet, segment, memory);
    if memory.found.get().marked {
        mark(packet, segment);
    }
}

/// Counts a segment that begins like a PROXY header, comes from an untrusted source, and belongs to a connection that
/// the kernel has. Either the source should be trusted, or the load balancer hides its own address.
#[inline(never)]
pub fn notice_header(packet: &impl Packet, segment: &Segment) {
    /// Of the shortest header.
    const LEAST: usize = 15;
    const V1: u32 = u32::from_ne_bytes(*b"PROX");
    const V2: u32 = u32::from_ne_bytes(*b"\r\n\r\n");
    const V1_NEXT: u32 = u32::from_ne_bytes(*b"Y TC");
    const V1_UNKNOWN: u32 = u32::from_ne_bytes(*b"Y UN");
    const V2_NEXT: u32 = u32::from_ne_bytes(*b"\0\r\nQ");
    if segment.payload < LEAST {
        return;
    }
    let Some(start) = packet.load_at::<[u32; 2]>(segment.tcp + segment.header) else { return };
    let begins = matches!(start, [V1, V1_NEXT | V1_UNKNOWN] | [V2, V2_NEXT]);
    if begins && !trusted(segment) {
        note_untrusted(segment);
        count(Counter::UntrustedHeader);
        count_listener(segment.listener, per_listener::UNTRUSTED_HEADER);
    }
}
