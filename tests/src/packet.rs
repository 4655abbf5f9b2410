//! Segments as tests describe them, and the frames that they make: the one builder of the tests' own frames.
//!
//! The simulated kernel has another one, so that a mistake in one of them shows.

use std::net::{IpAddr, SocketAddr};

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    IpEcn, IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader,
    TcpHeader, ip_number,
};

/// The TCP flag of this name.
pub const FIN: u8 = 1;
/// The TCP flag of this name.
pub const SYN: u8 = 1 << 1;
/// The TCP flag of this name.
pub const RST: u8 = 1 << 2;
/// The TCP flag of this name.
pub const PSH: u8 = 1 << 3;
/// The TCP flag of this name.
pub const ACK: u8 = 1 << 4;
/// The TCP flag of this name.
pub const URG: u8 = 1 << 5;
/// The TCP flag of this name.
pub const ECE: u8 = 1 << 6;
/// The TCP flag of this name.
pub const CWR: u8 = 1 << 7;

/// Ethernet address of the interface under test.
pub const HOST: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Ethernet address of whoever sends to it.
pub const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;

/// The TCP checksum of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The right one.
    Right,
    /// With these bits flipped.
    Damaged(u16),
    /// The sum over the pseudo-header, not complemented: whoever sends the segment computes the rest
    /// (`CHECKSUM_PARTIAL` of `linux/skbuff.h`).
    Partial,
}

/// A segment and its way through the net. Fields that a frame could not have by honest means are `None` unless the
/// case lies in them.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Ethernet addresses: destination, source.
    pub ethernet: [[u8; 6]; 2],
    /// VLAN tags behind them: type and contents.
    pub tags: Vec<[u16; 2]>,
    /// Address and port of the sender.
    pub from: SocketAddr,
    /// Address and port of the receiver.
    pub to: SocketAddr,
    /// The time to live, or hop limit.
    pub hops: u8,
    /// The two bits of the IP header in which routers mark it (RFC 3168 §5).
    pub ecn: IpEcn,
    /// IPv4 options, a multiple of four bytes.
    pub ip_options: Vec<u8>,
    /// IPv6 extension headers: the number of each, and what it holds behind its length.
    pub extensions: Vec<(IpNumber, Vec<u8>)>,
    /// The length that the IP header says, if not the right one.
    pub ip_length: Option<u16>,
    /// TCP flags.
    pub flags: u8,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number, whether the ACK flag is set or not.
    pub acknowledgment: u32,
    /// The window that is offered.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// TCP options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// The data offset in words that the TCP header says, if not the right one.
    pub offset: Option<u8>,
    /// Payload.
    pub payload: Vec<u8>,
    /// The TCP checksum.
    pub checksum: Checksum,
    /// Bytes of the frame behind the IP packet.
    pub padding: Vec<u8>,
}

impl Packet {
    /// A segment without options and payload.
    pub fn new(from: SocketAddr, to: SocketAddr, flags: u8) -> Self {
        Self {
            ethernet: [HOST, SENDER],
            tags: Vec::new(),
            from,
            to,
            hops: 64,
            ecn: IpEcn::ZERO,
            ip_options: Vec::new(),
            extensions: Vec::new(),
            ip_length: None,
            flags,
            sequence: 0x1234_5678,
            acknowledgment: 0,
            window: 0xfaf0,
            urgent: 0,
            options: Vec::new(),
            offset: None,
            payload: Vec::new(),
            checksum: Checksum::Right,
            padding: Vec::new(),
        }
    }

    /// The same with some fields changed.
    #[must_use]
    pub fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = self.clone();
        change(&mut changed);
        changed
    }

    /// Whether it goes over IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.from.is_ipv4()
    }

    /// Offset of the TCP header in the frame, bytes.
    pub fn tcp_at(&self) -> usize {
        self.frame().len() - self.padding.len() - self.segment().len()
    }

    /// The frame, whole.
    pub fn frame(&self) -> Vec<u8> {
        self.frame_around(&self.segment(), None)
    }

    /// A frame with a fragment of the packet: `bytes` of the segment, and whether more follow. The range must start
    /// at a multiple of eight.
    pub fn fragment(&self, bytes: std::ops::Range<usize>, more: bool) -> Vec<u8> {
        let offset = u16::try_from(bytes.start / 8).expect("a small offset");
        let offset = IpFragOffset::try_new(offset).expect("a small offset");
        self.frame_around(&self.segment()[bytes], Some((offset, more)))
    }

    /// The identification of this segment's fragments. No other segment in flight has the same.
    fn identification(&self) -> u16 {
        self.from.port() << 5 | u16::from(self.flags & 0x1f)
    }

    fn frame_around(&self, carried: &[u8], fragment: Option<(IpFragOffset, bool)>) -> Vec<u8> {
        let mut frame = self.ethernet.concat();
        let ethertype = if self.is_ipv4() { 0x0800 } else { 0x86dd };
        for word in self.tags.as_flattened().iter().chain([&ethertype]) {
            frame.extend(u16::to_be_bytes(*word));
        }
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend(self.ipv4([from.octets(), to.octets()], carried.len(), fragment));
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                frame.extend(self.ipv6([from.octets(), to.octets()], carried.len(), fragment));
            }
            ends => panic!("two families: {ends:?}"),
        }
        frame.extend(carried);
        frame.extend(&self.padding);
        frame
    }

    fn ipv4(
        &self,
        [source, destination]: [[u8; 4]; 2],
        carried: usize,
        fragment: Option<(IpFragOffset, bool)>,
    ) -> Vec<u8> {
        let mut header =
            Ipv4Header::new(0, self.hops, ip_number::TCP, source, destination).expect("a header");
        header.ecn = self.ecn;
        header.dont_fragment = fragment.is_none();
        if let Some((offset, more)) = fragment {
            header.identification = self.identification();
            (header.fragment_offset, header.more_fragments) = (offset, more);
        }
        header.options = self.ip_options[..].try_into().expect("whole words");
        let honest = u16::try_from(header.header_len() + carried).expect("a short packet");
        header.total_len = self.ip_length.unwrap_or(honest);
        header.header_checksum = header.calc_header_checksum();
        header.to_bytes().to_vec()
    }

    fn ipv6(
        &self,
        [source, destination]: [[u8; 16]; 2],
        carried: usize,
        fragment: Option<(IpFragOffset, bool)>,
    ) -> Vec<u8> {
        let mut next = ip_number::TCP;
        let mut extensions = Vec::new();
        if let Some((offset, more)) = fragment {
            let header = Ipv6FragmentHeader::new(next, offset, more, self.identification().into());
            extensions.splice(0..0, header.to_bytes());
            next = ip_number::IPV6_FRAGMENTATION_HEADER;
        }
        for (number, content) in self.extensions.iter().rev() {
            let header = Ipv6RawExtHeader::new_raw(next, content).expect("6 bytes and 8 for more");
            extensions.splice(0..0, header.to_bytes());
            next = *number;
        }
        let honest = u16::try_from(extensions.len() + carried).expect("a short packet");
        let header = Ipv6Header {
            payload_length: self.ip_length.unwrap_or(honest),
            next_header: next,
            hop_limit: self.hops,
            traffic_class: self.ecn.value(),
            source,
            destination,
            ..Ipv6Header::default()
        };
        [header.to_bytes().to_vec(), extensions].concat()
    }

    /// TCP header and payload.
    ///
    /// # Panics
    /// When the options are too long.
    pub fn segment(&self) -> Vec<u8> {
        let ports = (self.from.port(), self.to.port());
        let mut header = TcpHeader::new(ports.0, ports.1, self.sequence, self.window);
        header.acknowledgment_number = self.acknowledgment;
        header.urgent_pointer = self.urgent;
        header.set_options_raw(&self.options).expect("40 bytes at most");
        let mut segment = [&header.to_bytes()[..], &self.payload].concat();
        segment[13] = self.flags;
        if let Some(words) = self.offset {
            segment[12] = words << 4;
        }
        let pseudo_header = self.pseudo_header(segment.len());
        // The sum is of words as this machine reads them.
        let sum = match self.checksum {
            Checksum::Right => pseudo_header.add_slice(&segment).ones_complement(),
            Checksum::Damaged(bits) => {
                pseudo_header.add_slice(&segment).ones_complement() ^ bits.to_be()
            }
            Checksum::Partial => !pseudo_header.ones_complement(),
        };
        segment[16..18].copy_from_slice(&sum.to_ne_bytes());
        segment
    }

    fn pseudo_header(&self, length: usize) -> Sum16BitWords {
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let length = u16::try_from(length).expect("a short segment");
        Sum16BitWords::new()
            .add_slice(&octets(self.from.ip()))
            .add_slice(&octets(self.to.ip()))
            .add_slice(&[0, ip_number::TCP.0])
            .add_slice(&length.to_be_bytes())
    }

    /// What a program sends back to the sender: other than the flags and numbers of the case, everything is known.
    #[must_use]
    pub fn answer(&self, flags: u8, sequence: u32, acknowledgment: u32) -> Self {
        let [to, from] = self.ethernet;
        Self {
            ethernet: [from, to],
            sequence,
            acknowledgment,
            window: 0,
            ..Self::new(self.to, self.from, flags)
        }
    }

    /// The RST that answers it (RFC 9293 §3.10.7.1).
    #[must_use]
    pub fn reset(&self) -> Self {
        if self.flags & ACK != 0 {
            return self.answer(RST, self.acknowledgment, 0);
        }
        let length = u32::try_from(self.payload.len()).expect("a short segment");
        let length = length + u32::from(self.flags & SYN != 0) + u32::from(self.flags & FIN != 0);
        self.answer(RST | ACK, 0, self.sequence.wrapping_add(length))
    }
}

/// An IPv6 address that stands for an IPv4 address.
pub fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}
