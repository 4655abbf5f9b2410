//! What can be decided before the kernel makes an skb: a SYN is answered, and a handshake's bare ACK is dropped.
//!
//! Whoever is in doubt lets the frame go on to TC, which can do all of this. So nothing here refuses, counts or remembers.

use crate::{
    decide::{
        cookie::{Acknowledged, acknowledged},
        found::find_listening,
        opening::{self, is_group},
        translated, waiting,
    },
    decision::Decision,
    frame::{
        early::{Early, Guard, V4, V6, Version, Way},
        ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6},
        options,
        segment::Segment,
        tcp::flags,
    },
    header::intact::{AtHand, sum_at_hand},
    kernel::{packet::Packet, platform::Modern},
    state::{
        floods::is_flooded, handshakes::Handshake, memory::Memory, nat, neighbours::is_next, parts,
        policies::trusted, route::is_local,
    },
};
use proxyip_common::counter::Counter;

/// Whether the bytes at hand show a SYN or a bare ACK for a guarded port, without payload and with nothing between IP and
/// TCP.
#[inline(always)]
pub fn is_candidate(packet: &impl Packet) -> bool {
    match packet.protocol() {
        ETHERTYPE_IPV4 => is_candidate_of::<V4>(packet),
        ETHERTYPE_IPV6 => is_candidate_of::<V6>(packet),
        _ => false,
    }
}

#[inline(always)]
fn is_candidate_of<V: Version>(packet: &impl Packet) -> bool {
    let early = Early::<V>::new(packet);
    let Guard::Listener(_) = early.guard(Way::In) else { return false };
    let Some(tcp) = early.tcp() else { return false };
    let is_syn = tcp.flags & !(flags::ECE | flags::CWR) == flags::SYN;
    (is_syn || tcp.flags == flags::ACK) && early.is_bare(&tcp)
}

/// Decides on a candidate; `None` leaves it to TC.
#[inline(always)]
pub fn decide(packet: &impl Packet, segment: &Segment, memory: &Memory) -> Option<Decision> {
    memory.settle(Handshake::NONE);
    if segment.has(flags::SYN) {
        on_syn(packet, segment, memory)
    } else {
        on_ack(packet, segment, memory)
    }
}

#[inline(always)]
fn on_syn(packet: &impl Packet, segment: &Segment, memory: &Memory) -> Option<Decision> {
    if !is_next(packet, segment)
        || !find_listening(packet, segment, memory)
        || is_group(segment)
        || !trusted(segment)
        || !is_local(packet, segment)
    {
        return None;
    }
    let Ok(decision @ Decision::Answer(..)) = opening::answer::<Modern>(packet, segment, memory)
    else {
        return None;
    };
    // What is sent back keeps the skb that generic XDP has: a device would complete a checksum that is complete already.
    // The answer has read the options.
    let goes_back = sum_at_hand(packet, segment, &memory.options) == AtHand::Right
        && translated::clear_for_syn(segment, memory);
    goes_back.then_some(decision)
}

#[inline(always)]
fn on_ack(packet: &impl Packet, segment: &Segment, memory: &Memory) -> Option<Decision> {
    // First: of the segments of established connections, hardly any passes here.
    let counter = match acknowledged(segment) {
        Acknowledged::Handshake => Counter::AckDeferred,
        Acknowledged::Foreign if is_flooded() => Counter::CookieForeignUnanswered,
        Acknowledged::Foreign | Acknowledged::Unknown => return None,
    };
    let is_dropped = is_next(packet, segment)
        && trusted(segment)
        && find_listening(packet, segment, memory)
        && !translated::has(segment, memory)
        && waiting::forgotten(segment, memory).is_none()
        && !nat::is_redirected(segment)
        && parts::look_up(segment, memory).is_none()
        && options::read(packet, segment, &memory.options)
        && sum_at_hand(packet, segment, &memory.options) != AtHand::Unknown
        && (counter == Counter::AckDeferred || is_local(packet, segment));
    is_dropped.then_some(Decision::Hold(counter))
}
