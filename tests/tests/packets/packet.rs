//! Segments as the table describes them, and the frames that they make.

use std::net::{IpAddr, SocketAddr};

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader,
    TcpHeader, ip_number,
};

/// TCP flags.
pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 1 << 1;
pub(crate) const RST: u8 = 1 << 2;
pub(crate) const PSH: u8 = 1 << 3;
pub(crate) const ACK: u8 = 1 << 4;
pub(crate) const URG: u8 = 1 << 5;
pub(crate) const ECE: u8 = 1 << 6;
pub(crate) const CWR: u8 = 1 << 7;

/// Ethernet address of the interface under test.
pub(crate) const HOST: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Ethernet address of whoever sends to it.
pub(crate) const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;

/// A segment and its way through the net. Fields that a frame could not have by honest means are `None` unless the
/// case lies in them.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// Ethernet addresses: destination, source.
    pub(crate) ethernet: [[u8; 6]; 2],
    /// VLAN tags behind them: type and contents.
    pub(crate) tags: Vec<[u16; 2]>,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) hops: u8,
    /// IPv4 options, a multiple of four bytes.
    pub(crate) ip_options: Vec<u8>,
    /// IPv6 extension headers: the number of each, and what it holds behind its length.
    pub(crate) extensions: Vec<(IpNumber, Vec<u8>)>,
    /// The length that the IP header says, if not the right one.
    pub(crate) ip_length: Option<u16>,
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    /// TCP options, a multiple of four bytes.
    pub(crate) options: Vec<u8>,
    /// The data offset in words that the TCP header says, if not the right one.
    pub(crate) offset: Option<u8>,
    pub(crate) payload: Vec<u8>,
    /// Flips bits of the TCP checksum.
    pub(crate) damage: u16,
    /// Bytes of the frame behind the IP packet.
    pub(crate) padding: Vec<u8>,
}

impl Packet {
    /// A segment without options and payload.
    pub(crate) fn new(from: SocketAddr, to: SocketAddr, flags: u8) -> Self {
        Self {
            ethernet: [HOST, SENDER],
            tags: Vec::new(),
            from,
            to,
            hops: 64,
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
            damage: 0,
            padding: Vec::new(),
        }
    }

    /// The same with some fields changed.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = self.clone();
        change(&mut changed);
        changed
    }

    pub(crate) fn is_ipv4(&self) -> bool {
        self.from.is_ipv4()
    }

    /// Offset of the TCP header in the frame, bytes.
    pub(crate) fn tcp_at(&self) -> usize {
        self.frame().len() - self.padding.len() - self.segment().len()
    }

    /// The frame, whole.
    pub(crate) fn frame(&self) -> Vec<u8> {
        self.frame_around(&self.segment(), None)
    }

    /// A frame with a fragment of the packet: `bytes` of the segment, and whether more follow. The range must start
    /// at a multiple of eight.
    pub(crate) fn fragment(&self, bytes: std::ops::Range<usize>, more: bool) -> Vec<u8> {
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
            source,
            destination,
            ..Ipv6Header::default()
        };
        [header.to_bytes().to_vec(), extensions].concat()
    }

    /// TCP header and payload, the checksum that of the segment as it is.
    fn segment(&self) -> Vec<u8> {
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
        let sum = self.pseudo_header(segment.len()).add_slice(&segment).ones_complement();
        let sum = u16::from_ne_bytes(sum.to_ne_bytes()) ^ self.damage.to_be();
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
    pub(crate) fn answer(&self, flags: u8, sequence: u32, acknowledgment: u32) -> Self {
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
    pub(crate) fn reset(&self) -> Self {
        if self.flags & ACK != 0 {
            return self.answer(RST, self.acknowledgment, 0);
        }
        let length = u32::try_from(self.payload.len()).expect("a short segment");
        let length = length + u32::from(self.flags & SYN != 0) + u32::from(self.flags & FIN != 0);
        self.answer(RST | ACK, 0, self.sequence.wrapping_add(length))
    }
}

/// An IPv6 address that stands for an IPv4 address.
pub(crate) fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}
