//! From an Ethernet frame to a TCP segment for a guarded port.
//!
//! What the stack would make a segment of must be seen here, however it is wrapped: else a connection would begin
//! without its header. Where that cannot be told, the frame is dropped.

use proxyip_common::address::{Endpoint, Local, Peer};

use crate::{
    frame::{
        extensions::{FRAGMENT, NO_TCP, OFFSET, find_tcp},
        ip::{
            ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, FRAGMENT_OFFSET, IPV4, IPV6, Ipv4Header,
            Ipv6Header, MORE_FRAGMENTS,
        },
        ports::listener_of,
        segment::{Segment, Shape},
        tcp::{PROTOCOL_TCP, Seq, TCP, TcpHeader},
    },
    kernel::packet::Packet,
};

const ETHERTYPE_VLAN: u32 = (0x8100_u16.to_be()) as u32;
const ETHERTYPE_SERVICE_VLAN: u32 = (0x88a8_u16.to_be()) as u32;

/// The VLAN's number in `vlan_tci`.
const VLAN_ID: u32 = 0xfff;

/// In a tag, what gives a priority (IEEE 802.1Q).
const PRIORITY: u16 = 0xf000;

/// More than any segment holds in bytes, BIG TCP included.
const LONGEST: usize = 0x00ff_ffff;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Parsed {
    /// A frame that proxyip does not handle.
    Other,
    /// A segment for a guarded port, or from one.
    Segment,
    /// It cannot be told what the stack would find in it.
    Hidden,
}

/// Whether a frame that comes in is this interface's: for its Ethernet address, and of no VLAN.
#[inline(always)]
pub fn is_for_this_interface(packet: &impl Packet) -> bool {
    !has_vlan(packet) && packet.is_for_this_host()
}

/// Whether a frame is of a VLAN.
#[inline(always)]
pub fn has_vlan(packet: &impl Packet) -> bool {
    packet.vlan() & VLAN_ID != 0
}

/// Reads the frame.
///
/// Frames of a VLAN are not looked at: their connections are seen on the VLAN's own interface. A tag that only
/// gives a priority (VLAN 0) is no VLAN: the stack takes it off. Not looked at are
/// frames for another host's Ethernet address, which a bridge port or a promiscuous interface sees.
#[inline(never)]
pub fn incoming(packet: &impl Packet, segment: &mut Segment) -> Parsed {
    if !is_for_this_interface(packet) {
        return Parsed::Other;
    }
    match packet.protocol() {
        ETHERTYPE_IPV4 => parse_v4::<Incoming, _>(packet, segment),
        ETHERTYPE_IPV6 => parse_v6::<Incoming, _>(packet, segment),
        // A second tag, of VLAN 0 too: the stack takes it off behind this program, and delivers what is in it
        // (`__netif_receive_skb_core()`, https://elixir.bootlin.com/linux/v6.9/source/net/core/dev.c).
        ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN => match packet.load_at::<[u8; 2]>(ETHERNET) {
            Some(tag) if u16::from_be_bytes(tag) | PRIORITY == PRIORITY => Parsed::Hidden,
            _ => Parsed::Other,
        },
        _ => Parsed::Other,
    }
}

/// Reads a frame that leaves the host. The peer is where it goes to.
#[inline(never)]
pub fn outgoing(packet: &impl Packet, segment: &mut Segment) -> Parsed {
    // Translated on the VLAN's own interface.
    if has_vlan(packet) {
        return Parsed::Other;
    }
    match packet.protocol() {
        ETHERTYPE_IPV4 => parse_v4::<Outgoing, _>(packet, segment),
        ETHERTYPE_IPV6 => parse_v6::<Outgoing, _>(packet, segment),
        _ => Parsed::Other,
    }
}

/// Which end of a segment is this host's.
trait Direction {
    const OUTGOING: bool;
}

struct Incoming;

struct Outgoing;

impl Direction for Incoming {
    const OUTGOING: bool = false;
}

impl Direction for Outgoing {
    const OUTGOING: bool = true;
}

#[inline(always)]
fn parse_v4<D: Direction, K: Packet>(packet: &K, segment: &mut Segment) -> Parsed {
    let Some(Headers { ip, mut tcp }) = load_headers::<Ipv4Header>(packet) else {
        return Parsed::Other;
    };
    let fragment = u16::from_be_bytes(ip.fragment);
    // A later fragment has no ports, and is useless without the first.
    if ip.protocol != PROTOCOL_TCP || fragment & FRAGMENT_OFFSET != 0 {
        return Parsed::Other;
    }
    let ip_length = usize::from(ip.version_length & 0xf) * 4;
    if ip_length < IPV4 {
        return Parsed::Other;
    }
    let total = usize::from(u16::from_be_bytes(ip.total));
    // BIG TCP leaves the length at zero.
    let total = if total == 0 { (packet.length()).wrapping_sub(ETHERNET) } else { total };
    segment.ipv6 = false;
    segment.tcp = ETHERNET + ip_length;
    segment.shape = match ip_length {
        _ if fragment & MORE_FRAGMENTS != 0 => Shape::Fragment,
        IPV4 => Shape::Plain,
        _ => Shape::Extended,
    };
    let length = total.wrapping_sub(ip_length);
    if !load_tcp(packet, segment, length, &mut tcp) {
        return Parsed::Other;
    }
    let source = Endpoint::from_v4(ip.source, tcp.source);
    let destination = Endpoint::from_v4(ip.destination, tcp.destination);
    segment.complete::<D>(source, destination, &tcp, length)
}

#[inline(always)]
fn parse_v6<D: Direction, K: Packet>(packet: &K, segment: &mut Segment) -> Parsed {
    let Some(Headers { ip, mut tcp }) = load_headers::<Ipv6Header>(packet) else {
        return Parsed::Other;
    };
    let length = usize::from(u16::from_be_bytes(ip.length));
    let after = (packet.length()).wrapping_sub(ETHERNET + IPV6);
    let length = if length == 0 { after } else { length };
    segment.ipv6 = true;
    segment.tcp = ETHERNET + IPV6;
    segment.shape = Shape::Plain;
    if ip.next != PROTOCOL_TCP {
        let Some(skb) = packet.skb() else { return Parsed::Hidden };
        let found = match usize::try_from(find_tcp(skb)) {
            Ok(NO_TCP) => return Parsed::Other,
            Ok(found) => found,
            Err(_) => return Parsed::Hidden,
        };
        segment.tcp = found & OFFSET;
        segment.shape = if found & FRAGMENT == 0 { Shape::Extended } else { Shape::Fragment };
    }
    let length = length.wrapping_sub(segment.tcp.wrapping_sub(ETHERNET + IPV6));
    if !load_tcp(packet, segment, length, &mut tcp) {
        return Parsed::Other;
    }
    let source = Endpoint::from_words(ip.source, u16::from_ne_bytes(tcp.source));
    let destination = Endpoint::from_words(ip.destination, u16::from_ne_bytes(tcp.destination));
    // The stack drops these (`tcp_v6_conn_request()`); they must not be taken for IPv4.
    if source.v4().is_some() || destination.v4().is_some() {
        return Parsed::Other;
    }
    segment.complete::<D>(source, destination, &tcp, length)
}

/// An IP header, and what follows it.
#[repr(C, align(4))]
struct Headers<H> {
    ip: H,
    tcp: TcpHeader,
}

/// Loads both headers at once, because nearly every segment has both. If the frame is too short, loads the IP header
/// alone, with an impossible TCP header.
#[inline(always)]
fn load_headers<H>(packet: &impl Packet) -> Option<Headers<H>> {
    if let Some(headers) = packet.load_at::<Headers<H>>(ETHERNET) {
        return Some(headers);
    }
    let ip = packet.load_at::<H>(ETHERNET)?;
    Some(Headers { ip, tcp: TcpHeader { offset: 0, ..TcpHeader::hidden([[0; 2]; 2]) } })
}

/// Loads the TCP header of a segment in which it does not follow the fixed IP header, or not all of it: it and the
/// payload are `length` bytes. False if it is not there.
#[inline(always)]
fn load_tcp(packet: &impl Packet, segment: &Segment, length: usize, tcp: &mut TcpHeader) -> bool {
    if segment.shape == Shape::Plain {
        return true;
    }
    // In a first fragment there are eight bytes at least, and the rest may be in the next. Behind a short one
    // there may be padding, which looks like the rest.
    if segment.shape == Shape::Fragment && length < TCP {
        let Some(ports) = packet.load_at(segment.tcp) else { return false };
        *tcp = TcpHeader::hidden(ports);
        return true;
    }
    let Some(loaded) = packet.load_at(segment.tcp) else { return false };
    *tcp = loaded;
    true
}

impl Segment {
    /// Takes what the TCP header says; it and the payload are `length` bytes.
    #[inline(always)]
    fn complete<D: Direction>(
        &mut self,
        source: Endpoint,
        destination: Endpoint,
        tcp: &TcpHeader,
        length: usize,
    ) -> Parsed {
        (self.peer, self.local) = if D::OUTGOING {
            (Peer(destination), Local(source))
        } else {
            (Peer(source), Local(destination))
        };
        let port = if D::OUTGOING { tcp.source } else { tcp.destination };
        let Some(listener) = listener_of(port) else { return Parsed::Other };
        self.listener = listener;
        self.sequence = Seq::from_header(tcp.sequence);
        self.acknowledgment = Seq::from_header(tcp.acknowledgment);
        self.flags = tcp.flags;
        self.header = usize::from(tcp.offset >> 4) * 4;
        if length > LONGEST {
            return Parsed::Other;
        }
        self.payload = length.saturating_sub(self.header);
        // The rest of the TCP header may be in the next fragment; elsewhere the stack drops what is too short.
        let whole = self.header >= TCP && length >= self.header;
        if whole || self.shape == Shape::Fragment { Parsed::Segment } else { Parsed::Other }
    }
}
