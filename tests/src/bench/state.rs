//! Who the peers are, their cookies, and what the tables hold of them.

use std::net::{IpAddr, SocketAddr};
use std::thread::sleep;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use proxyip_common::address::{Client, Destination, Endpoint, Local, Peer};
use proxyip_common::cookie::{self, Agreed, Check, FlowHash, SECRETS, Secret};
use proxyip_common::counter::Obstacle;
use proxyip_common::flow::{FlowKey, FlowRecord, HandOff, Handshake, Origin, Translation};

use crate::bench::Count;
use crate::bench::family::next_port;
use crate::bench::{COOKIE, Family, LISTENERS};
use crate::packet::{ACK, PSH, Packet};

/// The MSS option.
pub fn mss(bytes: u16) -> Vec<u8> {
    let [high, low] = bytes.to_be_bytes();
    vec![2, 4, high, low]
}

/// The options of Linux's SYNs: MSS 1460, SACK permitted, timestamps, window scale 9.
pub fn linux_options() -> Vec<u8> {
    [mss(1460), vec![4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 9]].concat()
}

/// The options of Linux's other segments.
pub const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 1, 2, 3, 5, 5, 4, 3, 2];

/// `CLOCK_MONOTONIC` in nanoseconds.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the clock");
    u64::try_from(now.tv_sec() * 1_000_000_000 + now.tv_nsec()).expect("a time since the start")
}

/// Cookies are made when the cases are: waits if their epoch would end within this time, before the cases have run.
pub fn await_room_in_epoch(room: Duration) {
    let left = Duration::from_nanos(cookie::EPOCH_NS - now_ns() % cookie::EPOCH_NS);
    if left < room {
        sleep(left);
    }
}

/// The secret of a slot.
pub(super) const fn secret(slot: u32) -> Secret {
    [0x0123_4567_89ab_cdef ^ (slot as u64), 0xfedc_ba98_7654_3210]
}

/// The hash of the segment's flow so many epochs ago.
fn hash(packet: &Packet, ago: u64) -> FlowHash {
    let epoch = cookie::epoch(now_ns(), cookie::EPOCH_NS).wrapping_sub(ago);
    let slot = u32::try_from(epoch % u64::from(SECRETS)).expect("a slot");
    FlowHash::new(secret(slot), epoch, &Peer::from(packet.from), &Local::from(packet.to))
}

/// What a peer without options has agreed to.
pub const PLAIN: Agreed = Agreed { mss_class: 0, sack: false, window_scale: None };
/// What a peer with Linux's options has agreed to.
pub const LINUX: Agreed = Agreed { mss_class: 5, sack: true, window_scale: Some(9) };

/// The cookie that answers this SYN.
pub fn cookie_of(syn: &Packet, agreed: Agreed) -> u32 {
    hash(syn, 0).cookie(syn.sequence, agreed)
}

/// The cookie that answered the SYN this many epochs ago. By chance, the old cookie may resemble one that counts now.
/// Then the SYN gets another source port.
pub fn cookie_of_old(syn: &mut Packet, agreed: Agreed, ago: u64) -> u32 {
    loop {
        let cookie = hash(syn, ago).cookie(syn.sequence, agreed);
        if ago < 2 || is_foreign(syn, cookie) {
            return cookie;
        }
        syn.from.set_port(next_port());
    }
}

/// Whether this is by chance a good cookie for what follows that number: one in 2^15 is.
pub fn is_good(packet: &Packet, cookie: u32, initial: u32) -> bool {
    matches!(hash(packet, 0).check(cookie, initial), Check::Valid(_))
}

/// Whether this is no cookie of the segment's flow.
pub fn is_foreign(packet: &Packet, cookie: u32) -> bool {
    (0..2).all(|ago| hash(packet, ago).check(cookie, packet.sequence) == Check::Foreign)
}

/// What follows a SYN to the host that was answered with this cookie.
pub fn after(syn: &Packet, cookie: u32, flags: u8, payload: &[u8]) -> Packet {
    syn.with(|packet| {
        packet.flags = flags;
        packet.sequence = syn.sequence.wrapping_add(1);
        packet.acknowledgment = cookie.wrapping_add(1);
        packet.options = Vec::new();
        packet.payload = payload.to_vec();
    })
}

/// The segment that brings the header, and data behind it.
pub fn first(syn: &Packet, cookie: u32, payload: &[u8]) -> Packet {
    after(syn, cookie, ACK | PSH, payload)
}

/// What a table holds; times are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `HANDSHAKES`.
    Handshake(FlowKey, Handshake),
    /// `TRANSLATIONS`.
    Translation(FlowKey, Translation),
    /// `FLOWS`.
    Flow(FlowKey, FlowRecord),
}

/// The address, without a port.
pub fn endpoint(address: IpAddr) -> Endpoint {
    SocketAddr::new(address, 0).into()
}

/// The key of the segment's flow.
pub fn key(packet: &Packet) -> FlowKey {
    FlowKey::new(COOKIE, Peer::from(packet.from), Local::from(packet.to))
}

/// Whether a window scale is among these options.
fn offers_scaling(mut options: &[u8]) -> bool {
    while let [kind, rest @ ..] = options {
        options = match (kind, rest) {
            (0, _) => return false,
            (1, rest) => rest,
            (3, [3, ..]) => return true,
            (_, [length, ..]) if *length >= 2 => {
                options.get(usize::from(*length)..).unwrap_or_default()
            }
            _ => return false,
        };
    }
    false
}

/// What is remembered of a SYN that has passed.
pub fn handshake(syn: &Packet, hand_off: HandOff, reason: Obstacle) -> Entry {
    let handshake = Handshake {
        since_ns: 0,
        isn: syn.sequence,
        hand_off: hand_off as u8,
        reason: reason as u8,
        unscaled: u8::from(!offers_scaling(&syn.options)),
        reserved: 0,
    };
    Entry::Handshake(key(syn), handshake)
}

/// A translated connection that begins with this SYN.
pub fn translation(syn: &Packet, shift: u16, state: u8) -> Entry {
    let translation = Translation { seen_ns: 0, isn: syn.sequence, shift, state, flags: 0 };
    Entry::Translation(key(syn), translation)
}

/// The place of the listener that guards a port.
fn listener(port: u16) -> u16 {
    let place = LISTENERS.iter().position(|(guarded, ..)| *guarded == port);
    place.expect("a guarded port").try_into().expect("few listeners")
}

/// One of the counters of the listener that guards a port.
pub fn of_listener(port: u16, counter: u32) -> Count {
    Count::Listener(listener(port).into(), counter)
}

/// The flow of a connection, after its version 2 header of `family` has been read.
pub fn flow(packet: &Packet, family: Family, hand_off: HandOff) -> Entry {
    let record = FlowRecord {
        client: Client::from(family.client()),
        destination: Destination::from(family.destination()),
        listener: listener(packet.to.port()),
        header_length: family.header().len().try_into().expect("a short header"),
        version: 2,
        origin: Origin::Proxied as u8,
        hand_off: hand_off as u8,
        ..FlowRecord::EMPTY
    };
    Entry::Flow(key(packet), record)
}

/// An acknowledgment number that is no cookie of the segment's flow; the segment gets another source port if it would
/// by chance resemble one.
pub fn no_cookie(packet: &mut Packet) -> u32 {
    const NUMBER: u32 = 0x0bad_c00c;
    let before = packet.sequence.wrapping_sub(1);
    while !is_foreign(&packet.with(|syn| syn.sequence = before), NUMBER.wrapping_sub(1)) {
        packet.from.set_port(next_port());
    }
    NUMBER
}
