//! What the bytes at hand say of a frame. Nothing is copied: this is enough to let most frames of a host go on.

use core::marker::PhantomData;

use proxyip_common::address::Endpoint;

use crate::{
    frame::{
        extensions::is_extension,
        ip::{ETHERNET, FRAGMENT_OFFSET, IPV4, IPV6, MORE_FRAGMENTS, NO_OPTIONS},
        ports::listener_of,
        segment::Segment,
        tcp::{PROTOCOL_TCP, Seq, TCP},
    },
    kernel::packet::Packet,
};

/// A version of IP.
pub trait Version {
    /// Length of the fixed header in bytes.
    const LENGTH: usize;
    /// Offset in it: the number of the protocol that follows.
    const PROTOCOL: usize;
    /// Offset in it: the addresses. If TCP follows the fixed header, its ports follow the addresses.
    const ENDS: usize;
    /// Length of the addresses and ports in bytes.
    const ENDS_LENGTH: usize = Self::LENGTH - Self::ENDS + 4;

    /// Whether TCP may come behind what this number stands for.
    fn leads_further(protocol: u8) -> bool;

    /// Whether the fixed header that begins with these bytes is all of it, and the packet no fragment.
    fn is_plain(first: [u8; 8]) -> bool;

    /// Where a packet goes whose fixed header begins at this address: IPv4 as IPv4-mapped IPv6.
    ///
    /// # Safety
    /// The whole fixed header is there.
    unsafe fn destination(ip: usize) -> [u32; 4];

    /// How many bytes follow the fixed header that begins with these bytes; 0 if it does not say so.
    fn length_behind(first: [u8; 8]) -> usize;
}

/// RFC 791 §3.1.
pub struct V4;

/// RFC 8200 §3.
pub struct V6;

impl Version for V4 {
    const LENGTH: usize = IPV4;
    const PROTOCOL: usize = 9;
    const ENDS: usize = 12;

    #[inline(always)]
    fn leads_further(_protocol: u8) -> bool {
        false
    }

    #[inline(always)]
    fn is_plain([version_length, _, _, _, _, _, high, low]: [u8; 8]) -> bool {
        let fragment = u16::from_be_bytes([high, low]);
        version_length == NO_OPTIONS && fragment & (FRAGMENT_OFFSET | MORE_FRAGMENTS) == 0
    }

    #[inline(always)]
    unsafe fn destination(ip: usize) -> [u32; 4] {
        // SAFETY: the caller's promise.
        let address = unsafe { *((ip + 16) as *const [u8; 4]) };
        Endpoint::from_v4(address, [0; 2]).words()
    }

    #[inline(always)]
    fn length_behind([_, _, high, low, ..]: [u8; 8]) -> usize {
        usize::from(u16::from_be_bytes([high, low])).saturating_sub(IPV4)
    }
}

impl Version for V6 {
    const LENGTH: usize = IPV6;
    const PROTOCOL: usize = 6;
    const ENDS: usize = 8;

    #[inline(always)]
    fn leads_further(protocol: u8) -> bool {
        is_extension(protocol)
    }

    #[inline(always)]
    fn is_plain(_first: [u8; 8]) -> bool {
        true
    }

    #[inline(always)]
    unsafe fn destination(ip: usize) -> [u32; 4] {
        // SAFETY: the caller's promise; packets need no alignment.
        unsafe { ((ip + 24) as *const [u32; 4]).read_unaligned() }
    }

    #[inline(always)]
    fn length_behind([_, _, _, _, high, low, ..]: [u8; 8]) -> usize {
        u16::from_be_bytes([high, low]).into()
    }
}

/// Which port of a segment is this host's.
#[derive(Clone, Copy)]
pub enum Way {
    In,
    Out,
}

/// Who guards the port of a frame.
#[derive(Clone, Copy)]
pub enum Guard {
    /// Nobody: this is no TCP segment, or its port is not guarded.
    Nobody,
    /// The bytes at hand do not tell.
    Unknown,
    /// The listener with this index.
    Listener(u16),
}

/// The bytes at hand of a frame, which begins with an Ethernet header and this version of IP.
pub struct Early<V> {
    ip: usize,
    end: usize,
    version: PhantomData<V>,
}

impl<V: Version> Early<V> {
    #[inline(always)]
    pub fn new(packet: &impl Packet) -> Self {
        let (data, end) = packet.at_hand();
        Self { ip: data + ETHERNET, end, version: PhantomData }
    }

    /// Who guards the port that is this host's.
    #[inline(always)]
    pub fn guard(&self, way: Way) -> Guard {
        const PORTS: usize = 4;
        let ports = self.ip + V::LENGTH;
        if ports + PORTS > self.end {
            return Guard::Unknown;
        }
        // SAFETY: all of the fixed header, and four bytes behind it, lie before the end, as just checked.
        let (first, protocol, [source, destination]) = unsafe {
            let protocol = *((self.ip + V::PROTOCOL) as *const u8);
            (*(self.ip as *const [u8; 8]), protocol, *(ports as *const [[u8; 2]; 2]))
        };
        if protocol != PROTOCOL_TCP {
            return if V::leads_further(protocol) { Guard::Unknown } else { Guard::Nobody };
        }
        if !V::is_plain(first) {
            return Guard::Unknown;
        }
        let own = match way {
            Way::In => destination,
            Way::Out => source,
        };
        listener_of(own).map_or(Guard::Nobody, Guard::Listener)
    }

    /// The TCP header that follows the fixed IP header; `None` if it is not at hand.
    #[inline(always)]
    pub fn tcp(&self) -> Option<Tcp> {
        const NUMBERS: usize = 4;
        const OFFSET: usize = 12;
        const FLAGS: usize = 13;
        let tcp = self.ip + V::LENGTH;
        if tcp + TCP > self.end {
            return None;
        }
        // SAFETY: all lie before the end, as just checked.
        let (numbers, offset, flags) = unsafe {
            let numbers = *((tcp + NUMBERS) as *const [[u8; 4]; 2]);
            (numbers, *((tcp + OFFSET) as *const u8), *((tcp + FLAGS) as *const u8))
        };
        let length = usize::from(offset >> 4) * 4;
        Some(Tcp { numbers, flags, length, ends: self.ip + V::ENDS })
    }

    /// Puts into `segment` what it takes to translate it: where its TCP header lies, and the numbers there.
    #[inline(always)]
    pub fn describe(tcp: &Tcp, segment: &mut Segment) {
        let [sequence, acknowledgment] = tcp.numbers;
        segment.tcp = ETHERNET + V::LENGTH;
        segment.header = tcp.length;
        segment.sequence = Seq::from_header(sequence);
        segment.acknowledgment = Seq::from_header(acknowledgment);
    }

    /// Where the packet goes.
    #[inline(always)]
    pub fn destination(&self) -> Option<[u32; 4]> {
        if self.ip + V::LENGTH > self.end {
            return None;
        }
        // SAFETY: before the end, as just checked.
        Some(unsafe { V::destination(self.ip) })
    }

    /// Whether the IP header says that nothing follows the TCP header, which is at hand.
    #[inline(always)]
    pub fn is_bare(&self, tcp: &Tcp) -> bool {
        if self.ip + V::LENGTH > self.end {
            return false;
        }
        // SAFETY: before the end, as just checked.
        let first = unsafe { *(self.ip as *const [u8; 8]) };
        tcp.length >= TCP && V::length_behind(first) == tcp.length
    }

    /// The first bytes behind the TCP header; `None` if there are none.
    #[inline(always)]
    pub fn payload(&self, packet: &impl Packet, tcp: &Tcp) -> Option<[u8; 4]> {
        let at = ETHERNET + V::LENGTH + tcp.length;
        if at + 4 > packet.length() {
            return None;
        }
        let start = self.ip + V::LENGTH + tcp.length;
        if start + 4 > self.end {
            return packet.load_at(at);
        }
        // SAFETY: before the end, as just checked.
        Some(unsafe { *(start as *const [u8; 4]) })
    }
}

/// What is asked of a TCP header.
pub struct Tcp {
    /// Its sequence and its acknowledgment number.
    numbers: [[u8; 4]; 2],
    pub flags: u8,
    /// Its length in bytes.
    pub length: usize,
    /// Where the IP addresses and ports lie in the frame, all of them at hand, as [`Socket::find_ends`] wants them.
    ///
    /// [`Socket::find_ends`]: crate::state::sockets::Socket::find_ends
    pub ends: usize,
}
