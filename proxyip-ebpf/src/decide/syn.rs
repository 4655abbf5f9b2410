//! The SYN-ACK: a keyed cookie, and what this namespace's stack would offer.

use proxyip_common::{
    cookie::{self, Agreed},
    counter::{Counter, DropReason, Obstacle},
    settings::{NamespaceSettings, ScopedAddress},
};

use crate::{
    decision::Decision,
    frame::{
        ip::{IPV4, IPV6},
        options::{self, MAXIMUM_SEGMENT_SIZE, NO_OPERATION as NOP, SACK_PERMITTED, WINDOW_SCALE},
        reply::{Reply, put_option, put_timestamps},
        segment::{Segment, classes, incoming, is_ecn_capable},
        tcp::{Seq, TCP, flags},
    },
    kernel::{btf_maps::lpm_trie::Key, helpers::bpf_check_mtu, packet::Packet, verified::Code},
    state::{
        memory::Memory,
        namespace::{clock, place, settings},
        networks::ROUTES,
        secrets::flow_hash,
    },
};

/// A SYN from a trusted source for a socket that listens.
///
/// # Errors
/// Why the accept hand-off cannot serve the connection.
#[inline(never)]
pub fn answer_syn(
    packet: &impl Packet,
    segment: &Segment,
    memory: &Memory,
) -> Result<Decision, Obstacle> {
    let Some(settings) = settings() else {
        return Ok(Decision::Refuse(DropReason::SynAckFailed));
    };
    if !settings.has(NamespaceSettings::SYNCOOKIES) {
        return Err(Obstacle::SynCookiesOff);
    }
    if !settings.has(NamespaceSettings::CONNTRACK_LOOSE) {
        return Err(Obstacle::ConntrackStrict);
    }
    if !options::read(packet, segment, &memory.options) {
        return Ok(Decision::Refuse(DropReason::SynAckFailed));
    }
    if memory.limits.get().is_full {
        return Ok(Decision::Refuse(DropReason::AcceptQueueFull));
    }
    let offered = &memory.options.received;
    if offered.signed.get() {
        return Err(Obstacle::Signed);
    }
    // RFC 9293 §3.7.1: what a peer that offers no MSS can take.
    let default = if segment.ipv6 { 1220 } else { 536 };
    let Some(mss_class) = Agreed::class_of(offered.mss.get().unwrap_or(default), classes(segment))
    else {
        return Err(Obstacle::MssTooSmall);
    };
    let Some(mss) = advertised_mss(packet, segment, settings) else {
        return Ok(Decision::Refuse(DropReason::SynAckFailed));
    };
    let ecn = settings.has(NamespaceSettings::ECN) && offers_ecn(packet, segment);
    match syn_ack(segment, memory, settings, Path { mss_class, mss, ecn }) {
        Some(reply) => Ok(Decision::Answer(Counter::SynAnswered, reply)),
        None => Ok(Decision::Refuse(DropReason::SynAckFailed)),
    }
}

/// What is known of the way between the two ends.
#[derive(Clone, Copy)]
struct Path {
    /// How large segments to the peer may be, as a class of the cookie.
    mss_class: u8,
    /// How large those from the peer may be, by the route.
    mss: u16,
    /// Routers may mark segments instead of dropping them.
    ecn: bool,
}

/// The SYN-ACK: the cookie as its sequence number, and the options that this namespace's stack would offer.
#[inline(always)]
fn syn_ack(
    segment: &Segment,
    memory: &Memory,
    settings: &NamespaceSettings,
    path: Path,
) -> Option<Reply> {
    let (offered, buffer) = (&memory.options.received, &memory.reply);
    let scaling = settings.has(NamespaceSettings::WINDOW_SCALING);
    let agreed = Agreed {
        mss_class: path.mss_class,
        sack: offered.sack_permitted.get() && settings.has(NamespaceSettings::SACK),
        window_scale: if scaling { offered.window_scale.get() } else { None },
    };
    let timestamps =
        if settings.has(NamespaceSettings::TIMESTAMPS) { offered.timestamps.get() } else { None };

    let cookie = u32::try_from(make_cookie(agreed.pack())).ok()?;
    let acknowledgment = segment.sequence.plus(1);
    let mut reply = Reply::bare(Seq(cookie), acknowledgment, flags::SYN | flags::ACK);
    reply.window = settings.window;
    let mss = memory.limits.get().limit(path.mss);
    let [high, low] = mss.to_be_bytes();
    // Four no-operations where an option is missing in the middle; none behind the last.
    put_option(buffer, 0, [MAXIMUM_SEGMENT_SIZE, 4, high, low, NOP, NOP, NOP, NOP]);
    reply.options_length = 4;
    if agreed.window_scale.is_some() {
        put_option(buffer, 4, [NOP, WINDOW_SCALE, 3, settings.window_scale]);
        reply.options_length = 8;
    }
    if agreed.sack {
        put_option(buffer, 8, [NOP, NOP, SACK_PERMITTED, 2]);
        reply.options_length = 12;
    }
    if let Some(received) = timestamps {
        let lead = if agreed.sack { [SACK_PERMITTED, 2] } else { [NOP, NOP] };
        // The timestamp brings it back.
        let ecn = if path.ecn { cookie::ECN } else { 0 };
        if path.ecn {
            reply.flags |= flags::ECE;
        }
        let stamp = cookie::stamp(clock(settings), ecn);
        put_timestamps(buffer, 8, lead, (stamp, received.value));
        reply.options_length = 20;
    }
    Some(reply)
}

/// Whether the peer offers ECN as RFC 3168 §6.1.1 wants it. The kernel does not believe a SYN that is marked itself: something
/// on the way may set these bits (`tcp_ecn_create_request()`,
/// <https://elixir.bootlin.com/linux/v6.9/source/net/ipv4/tcp_input.c>).
#[inline(always)]
fn offers_ecn(packet: &impl Packet, segment: &Segment) -> bool {
    segment.flags & (flags::ECE | flags::CWR) == flags::ECE | flags::CWR
        && !is_ecn_capable(packet, segment)
}

/// The cookie for the SYN being read and what was agreed on, packed; not a cookie if the namespace's settings are not there.
/// Exported: the verifier walks it once, and its numbers need no room on the stack of what follows.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn make_cookie(agreed: u32) -> Code {
    let Some(segment) = incoming() else { return -1 };
    match flow_hash(segment, None) {
        Some(hash) => hash.cookie(segment.sequence.0, Agreed::unpack(agreed)).into(),
        None => -1,
    }
}

/// The MSS of the route to the peer if it has one, else that of the interface's MTU.
#[inline(always)]
fn advertised_mss(
    packet: &impl Packet,
    segment: &Segment,
    settings: &NamespaceSettings,
) -> Option<u16> {
    if settings.has(NamespaceSettings::ROUTE_MSS)
        && let destination = ScopedAddress::new(place(), &segment.peer.0)
        && let Some(mss) = ROUTES.get(&Key::new(ScopedAddress::BITS, destination))
        && *mss != 0
    {
        return Some(*mss);
    }
    let mut mtu = 0;
    // SAFETY: the helper writes the device's MTU unless its arguments are wrong.
    if unsafe { bpf_check_mtu(packet.context(), 0, &raw mut mtu, 0, 0) } < 0 {
        return None;
    }
    let headers = if segment.ipv6 { IPV6 + TCP } else { IPV4 + TCP };
    let mss = (mtu as usize).checked_sub(headers)?;
    Some(mss.min(65_535 - headers) as u16)
}
