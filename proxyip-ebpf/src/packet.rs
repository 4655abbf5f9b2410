//! From an Ethernet frame to a TCP segment for a guarded port.

use core::hint::black_box;

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};
use proxyip_common::{
    address::{Endpoint, Local, Peer},
    settings::RETIRED,
};

use crate::maps::PORTS;

/// Length of an Ethernet header without tags.
pub const ETHERNET: usize = 14;
/// Length of an IPv4 header without options.
pub const IPV4: usize = 20;
/// Length of an IPv6 header without extension headers.
pub const IPV6: usize = 40;
/// Length of a TCP header without options.
pub const TCP: usize = 20;
/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;

const ETHERTYPE_IPV4: u32 = (0x0800_u16.to_be()) as u32;
const ETHERTYPE_IPV6: u32 = (0x86dd_u16.to_be()) as u32;

/// `pkt_type` of a frame for this host's Ethernet address (`include/uapi/linux/if_packet.h`).
const PACKET_HOST: u32 = 0;
/// The VLAN's number in `vlan_tci`.
const VLAN_ID: u32 = 0xfff;

/// More than any segment holds in bytes, BIG TCP included.
const LONGEST: usize = 0x00ff_ffff;

/// In [`Segment::listener`], for a port that is guarded no longer.
pub const RETIRED_LISTENER: u16 = RETIRED - 1;

/// TCP flags (RFC 9293 §3.1).
pub mod flags {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 1 << 1;
    pub const RST: u8 = 1 << 2;
    pub const ACK: u8 = 1 << 4;
}

/// How the IP header is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A TCP header follows the fixed IP header.
    Plain,
    /// IPv4 options or IPv6 extension headers come between.
    Extended,
    /// The first fragment of several.
    Fragment,
}

/// A TCP segment for a guarded port. Numbers are in host byte order.
pub struct Segment {
    pub ipv6: bool,
    pub shape: Shape,
    /// Index of the listener that guards the port.
    pub listener: u16,
    pub peer: Peer,
    pub local: Local,
    /// Offset of the TCP header from the start of the frame, in bytes.
    pub tcp: usize,
    pub sequence: u32,
    pub acknowledgment: u32,
    pub flags: u8,
    /// Length of the TCP header in bytes, 20 to 60.
    pub header: usize,
    /// Length of the payload in bytes.
    pub payload: usize,
}

impl Segment {
    #[inline(always)]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Swaps the two ends.
    #[inline(always)]
    pub fn turn_round(&mut self) {
        core::mem::swap(&mut self.peer.0, &mut self.local.0);
    }

    /// Length of the IP header, for [`Shape::Plain`].
    #[inline(always)]
    pub fn ip_length(&self) -> usize {
        if self.ipv6 { IPV6 } else { IPV4 }
    }
}

/// Reads the segment in this frame; false if it is none for a guarded port.
///
/// Frames of a VLAN are not looked at: their connections are seen on the VLAN's own interface. A tag that only
/// gives a priority (VLAN 0) is no VLAN: the stack takes it off. Not looked at are
/// frames for another host's Ethernet address, which a bridge port or a promiscuous interface sees.
#[inline(never)]
pub fn parse(ctx: &TcContext, segment: &mut Segment) -> bool {
    let skb = ctx.skb.skb;
    // SAFETY: fields of the context, which the verifier turns into loads from the skb.
    let (protocol, vlan, kind) = unsafe { ((*skb).protocol, (*skb).vlan_tci, (*skb).pkt_type) };
    if vlan & VLAN_ID != 0 || kind != PACKET_HOST {
        return false;
    }
    match protocol {
        ETHERTYPE_IPV4 => {
            !is_foreign(ctx, IPV4, 0, 0x45) && parse_v4::<Incoming>(ctx, segment).is_some()
        }
        ETHERTYPE_IPV6 => {
            !is_foreign(ctx, IPV6, 6, PROTOCOL_TCP) && parse_v6::<Incoming>(ctx, segment).is_some()
        }
        _ => false,
    }
}

/// Reads the segment in this frame that leaves the host; false if it is none from a guarded port. The peer is where it
/// goes to.
#[inline(never)]
pub fn parse_outgoing(ctx: &TcContext, segment: &mut Segment) -> bool {
    let skb = ctx.skb.skb;
    // SAFETY: fields of the context.
    let (protocol, vlan) = unsafe { ((*skb).protocol, (*skb).vlan_tci) };
    // Translated on the VLAN's own interface.
    if vlan & VLAN_ID != 0 {
        return false;
    }
    let parsed = match protocol {
        ETHERTYPE_IPV4 => parse_v4::<Outgoing>(ctx, segment),
        ETHERTYPE_IPV6 => parse_v6::<Outgoing>(ctx, segment),
        _ => None,
    };
    parsed.is_some()
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

/// A TCP header without options (RFC 9293 §3.1).
#[repr(C, align(4))]
struct TcpHeader {
    source: [u8; 2],
    destination: [u8; 2],
    sequence: [u8; 4],
    acknowledgment: [u8; 4],
    offset: u8,
    flags: u8,
    window: [u8; 2],
    checksum: [u8; 2],
    urgent: [u8; 2],
}

/// An IPv4 header without options (RFC 791 §3.1), and what follows it.
#[repr(C, align(4))]
struct Ipv4Header {
    version_length: u8,
    service: u8,
    total: [u8; 2],
    identification: [u8; 2],
    fragment: [u8; 2],
    hops: u8,
    protocol: u8,
    checksum: [u8; 2],
    source: [u8; 4],
    destination: [u8; 4],
    tcp: TcpHeader,
}

/// An IPv6 header (RFC 8200 §3), and what follows it.
#[repr(C, align(4))]
struct Ipv6Header {
    version: [u8; 4],
    length: [u8; 2],
    next: u8,
    hops: u8,
    source: [u32; 4],
    destination: [u32; 4],
    tcp: TcpHeader,
}

/// Whether the bytes at hand show that the frame is not for a guarded port: the quick way out for all other
/// traffic. For a TCP header behind `ip` bytes of IP header, of which the byte at `offset` has this `value`.
#[inline(always)]
fn is_foreign(ctx: &TcContext, ip: usize, offset: usize, value: u8) -> bool {
    let start = ctx.data() + ETHERNET;
    let port = start + ip + 2;
    if port + 2 > ctx.data_end() {
        return false;
    }
    // SAFETY: both addresses lie before `data_end`, as just checked.
    let (found, port) = unsafe { (*((start + offset) as *const u8), *(port as *const [u8; 2])) };
    found == value && listener(port).is_none()
}

#[inline(always)]
fn parse_v4<D: Direction>(ctx: &TcContext, segment: &mut Segment) -> Option<()> {
    let Ok(ip) = ctx.load::<Ipv4Header>(ETHERNET) else {
        return if D::OUTGOING { None } else { parse_stub(ctx, segment) };
    };
    if ip.protocol != PROTOCOL_TCP {
        return None;
    }
    let fragment = u16::from_be_bytes(ip.fragment);
    if fragment & 0x1fff != 0 {
        // A later fragment: no ports here, and useless without the first.
        return None;
    }
    let ip_length = usize::from(ip.version_length & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes(ip.total));
    // BIG TCP leaves the length at zero.
    let total = if total == 0 { (ctx.len() as usize).wrapping_sub(ETHERNET) } else { total };
    segment.ipv6 = false;
    segment.tcp = ETHERNET + ip_length;
    let tcp = match ip_length {
        ..IPV4 => return None,
        IPV4 => {
            segment.shape = Shape::Plain;
            ip.tcp
        }
        _ => {
            segment.shape = Shape::Extended;
            ctx.load(segment.tcp).ok()?
        }
    };
    if fragment & 0x2000 != 0 {
        segment.shape = Shape::Fragment;
    }
    let source = Endpoint::from_v4(ip.source, tcp.source);
    let destination = Endpoint::from_v4(ip.destination, tcp.destination);
    segment.complete::<D>(source, destination, &tcp, total.wrapping_sub(ip_length))
}

/// An IPv4 packet too short for a TCP header: a fragment that hides the rest. Its ports are in the first.
#[inline(never)]
fn parse_stub(ctx: &TcContext, segment: &mut Segment) -> Option<()> {
    let [version_length, _]: [u8; 2] = ctx.load(ETHERNET).ok()?;
    let [high, low]: [u8; 2] = ctx.load(ETHERNET + 6).ok()?;
    let protocol: u8 = ctx.load(ETHERNET + 9).ok()?;
    let ip_length = usize::from(version_length & 0xf) * 4;
    let first = u16::from_be_bytes([high, low]) & 0x3fff == 0x2000;
    if protocol != PROTOCOL_TCP || !first || ip_length < IPV4 {
        return None;
    }
    let [source, destination]: [[u8; 2]; 2] = ctx.load(ETHERNET + ip_length).ok()?;
    segment.ipv6 = false;
    segment.shape = Shape::Fragment;
    segment.tcp = ETHERNET + ip_length;
    segment.peer = Peer(Endpoint::from_v4(ctx.load(ETHERNET + 12).ok()?, source));
    segment.local = Local(Endpoint::from_v4(ctx.load(ETHERNET + 16).ok()?, destination));
    segment.listener = listener(destination)?;
    // Judged as what it may be.
    segment.flags = flags::SYN;
    segment.header = TCP;
    Some(())
}

#[inline(always)]
fn parse_v6<D: Direction>(ctx: &TcContext, segment: &mut Segment) -> Option<()> {
    let ip: Ipv6Header = ctx.load(ETHERNET).ok()?;
    let length = usize::from(u16::from_be_bytes(ip.length));
    let after = (ctx.len() as usize).wrapping_sub(ETHERNET + IPV6);
    let length = if length == 0 { after } else { length };
    segment.ipv6 = true;
    let tcp = if ip.next == PROTOCOL_TCP {
        segment.shape = Shape::Plain;
        segment.tcp = ETHERNET + IPV6;
        ip.tcp
    } else {
        (segment.shape, segment.tcp) = skip_extensions(ctx, ip.next)?;
        ctx.load(segment.tcp).ok()?
    };
    let source = Endpoint::from_words(ip.source, u16::from_ne_bytes(tcp.source));
    let destination = Endpoint::from_words(ip.destination, u16::from_ne_bytes(tcp.destination));
    let length = length.wrapping_sub(segment.tcp.wrapping_sub(ETHERNET + IPV6));
    segment.complete::<D>(source, destination, &tcp, length)
}

/// Walks IPv6 extension headers (RFC 8200 §4) to a TCP header; `None` if there is none.
#[inline(always)]
fn skip_extensions(ctx: &TcContext, first: u8) -> Option<(Shape, usize)> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    /// More than one of each kind is not sent by anybody.
    const MOST: usize = 6;

    let mut shape = Shape::Extended;
    let mut next = first;
    let mut at = ETHERNET + IPV6;
    for _ in 0..MOST {
        let [following, length, high, low] = match next {
            PROTOCOL_TCP => return Some((shape, at)),
            HOP_BY_HOP | ROUTING | DESTINATION | FRAGMENT => ctx.load::<[u8; 4]>(at).ok()?,
            _ => return None,
        };
        if next == FRAGMENT {
            if u16::from_be_bytes([high, low]) & 0xfff8 != 0 {
                return None;
            }
            shape = Shape::Fragment;
            at += 8;
        } else {
            at += (usize::from(length) + 1) * 8;
        }
        next = following;
    }
    None
}

/// The listener that guards this port (network byte order).
#[inline(always)]
fn listener(port: [u8; 2]) -> Option<u16> {
    PORTS.get(u32::from(u16::from_be_bytes(port)))?.checked_sub(1)
}

impl Segment {
    /// Takes what the TCP header says; it and the payload are `length` bytes. `None` if that cannot be, or if
    /// no listener guards the port.
    #[inline(always)]
    fn complete<D: Direction>(
        &mut self,
        source: Endpoint,
        destination: Endpoint,
        tcp: &TcpHeader,
        length: usize,
    ) -> Option<()> {
        (self.peer, self.local) = if D::OUTGOING {
            (Peer(destination), Local(source))
        } else {
            (Peer(source), Local(destination))
        };
        self.listener = listener(if D::OUTGOING { tcp.source } else { tcp.destination })?;
        self.sequence = u32::from_be_bytes(tcp.sequence);
        self.acknowledgment = u32::from_be_bytes(tcp.acknowledgment);
        self.flags = tcp.flags;
        self.header = usize::from(tcp.offset >> 4) * 4;
        if self.header < TCP || length < self.header || length > LONGEST {
            return None;
        }
        self.payload = length - self.header;
        Some(())
    }
}

/// A length for a helper, checked to be from 1 to `MOST`.
///
/// To be called directly before each use: the compiler must not know what it knows, or it drops a check that the
/// verifier needs, and older verifiers forget what they know of a number that is kept on the stack.
#[inline(always)]
pub fn bounded<const MOST: usize>(length: usize) -> Option<usize> {
    let below = black_box(length.wrapping_sub(1));
    if below >= MOST { None } else { Some(below + 1) }
}

/// The context as the raw helpers want it.
#[inline(always)]
pub fn raw(ctx: &TcContext) -> *mut __sk_buff {
    ctx.skb.skb
}
