//! TCP segments as frames, and back.
//!
//! By hand: it has constants and [`Endpoint`] in common with the kernel programs, and neither parser nor checksums. A
//! mistake that both made would show in no test.

use proxyip_common::address::Endpoint;

use super::{
    frame::ETHERNET,
    numbers::{add, fold, sum},
};

/// IP protocol number of TCP.
const PROTOCOL_TCP: u8 = 6;

/// Flags of TCP (RFC 9293 §3.1).
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 1 << 1;
    /// Reset the connection.
    pub const RST: u8 = 1 << 2;
    /// The acknowledgment field is significant.
    pub const ACK: u8 = 1 << 4;
    /// A router has marked what was received (RFC 3168).
    pub const ECE: u8 = 1 << 6;
    /// The sender sends less, because it has heard that (RFC 3168).
    pub const CWR: u8 = 1 << 7;
}

/// A TCP segment without IP options; numbers in host byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it comes from.
    pub source: Endpoint,
    /// Where it goes to.
    pub destination: Endpoint,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// [`flags`].
    pub flags: u8,
    /// The window, as it stands in the header.
    pub window: u16,
    /// TCP options; a multiple of 4 bytes, 40 at most.
    pub options: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Segment {
    /// Without options and payload.
    pub fn bare(
        source: Endpoint,
        destination: Endpoint,
        sequence: u32,
        acknowledgment: u32,
        flags: u8,
    ) -> Self {
        Self {
            source,
            destination,
            sequence,
            acknowledgment,
            flags,
            window: 0x2000,
            options: vec![],
            payload: vec![],
        }
    }

    /// As an Ethernet frame, all checksums right.
    pub fn frame(&self) -> Vec<u8> {
        let tcp = self.tcp();
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        if let (Some(source), Some(destination)) = (self.source.v4(), self.destination.v4()) {
            let [high, low] = ((20 + tcp.len()) as u16).to_be_bytes();
            let mut ip = vec![0x45, 0, high, low, 0, 0, 0x40, 0, 64, 6, 0, 0];
            ip.extend(source);
            ip.extend(destination);
            let checksum = !fold(sum(&ip).into());
            ip[10..12].copy_from_slice(&checksum.to_ne_bytes());
            frame.extend([8, 0]);
            frame.extend(ip);
        } else {
            let [high, low] = (tcp.len() as u16).to_be_bytes();
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, high, low, 6, 64]);
            frame.extend(self.source.address());
            frame.extend(self.destination.address());
        }
        frame.extend(tcp);
        frame
    }

    fn tcp(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.source.port_bytes());
        tcp.extend(self.destination.port_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledgment.to_be_bytes());
        tcp.extend([((20 + self.options.len()) << 2) as u8, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(&self.options);
        tcp.extend(&self.payload);
        let checksum = !fold(add(self.pseudo_header(tcp.len()), sum(&tcp)).into());
        tcp[16..18].copy_from_slice(&checksum.to_ne_bytes());
        tcp
    }

    /// Leaves the checksum of this frame, which was read as `self`, to a device; returns where the TCP header is.
    pub(crate) fn make_partial(&self, frame: &mut [u8]) -> usize {
        let start = match frame[12] {
            8 => ETHERNET + usize::from(frame[ETHERNET] & 0xf) * 4,
            _ => ETHERNET + 40,
        };
        let length = 20 + self.options.len() + self.payload.len();
        let pseudo = fold(self.pseudo_header(length).into());
        frame[start + 16..start + 18].copy_from_slice(&pseudo.to_ne_bytes());
        start
    }

    /// The sum of the pseudo-header; the prefix of IPv4-mapped addresses adds nothing to it.
    fn pseudo_header(&self, length: usize) -> u32 {
        let mut header = [0; 36];
        header[..16].copy_from_slice(&self.source.address());
        header[16..32].copy_from_slice(&self.destination.address());
        header[32..34].copy_from_slice(&(length as u16).to_be_bytes());
        header[35] = PROTOCOL_TCP;
        sum(&header)
    }

    /// Reads a frame as the IP layer and TCP do: trimmed to the length in the IP header. `None` if it is no whole
    /// segment, or if a checksum is wrong that `checked` asks to be looked at.
    pub fn read(frame: &[u8], checked: bool) -> Option<Self> {
        let (kind, packet) = (frame.get(12..ETHERNET)?, &frame[ETHERNET..]);
        let (source, destination, tcp) = match kind {
            [8, 0] => read_v4(packet)?,
            [0x86, 0xdd] => read_v6(packet)?,
            _ => return None,
        };
        let [a, b, c, d, numbers @ ..] = tcp.get(..20)? else { return None };
        let header = usize::from(numbers[8] >> 4) * 4;
        let segment = Self {
            source: source([*a, *b]),
            destination: destination([*c, *d]),
            sequence: u32::from_be_bytes(numbers[..4].try_into().ok()?),
            acknowledgment: u32::from_be_bytes(numbers[4..8].try_into().ok()?),
            flags: numbers[9],
            window: u16::from_be_bytes([numbers[10], numbers[11]]),
            options: tcp.get(20..header)?.to_vec(),
            payload: tcp[header..].to_vec(),
        };
        let sum = || fold(add(segment.pseudo_header(tcp.len()), sum(tcp)).into());
        (!checked || sum() == u16::MAX).then_some(segment)
    }
}

type Ends<'a> = (Box<dyn Fn([u8; 2]) -> Endpoint>, Box<dyn Fn([u8; 2]) -> Endpoint>, &'a [u8]);

fn read_v4(packet: &[u8]) -> Option<Ends<'_>> {
    let header = usize::from(packet.first()? & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
    let fragment = u16::from_be_bytes(packet.get(6..8)?.try_into().ok()?) & 0x3fff;
    let intact = fold(sum(packet.get(..header)?).into()) == u16::MAX;
    if packet[0] >> 4 != 4 || header < 20 || packet[9] != 6 || fragment != 0 || !intact {
        return None;
    }
    let [source, destination]: [[u8; 4]; 2] =
        [packet[12..16].try_into().ok()?, packet[16..20].try_into().ok()?];
    let tcp = packet.get(header..total)?;
    Some((
        Box::new(move |port| Endpoint::from_v4(source, port)),
        Box::new(move |port| Endpoint::from_v4(destination, port)),
        tcp,
    ))
}

fn read_v6(packet: &[u8]) -> Option<Ends<'_>> {
    let length = usize::from(u16::from_be_bytes(packet.get(4..6)?.try_into().ok()?));
    if packet[0] >> 4 != 6 || *packet.get(6)? != 6 {
        return None;
    }
    let [source, destination]: [[u8; 16]; 2] =
        [packet.get(8..24)?.try_into().ok()?, packet.get(24..40)?.try_into().ok()?];
    let tcp = packet.get(40..40 + length)?;
    Some((
        Box::new(move |port| Endpoint::from_v6(source, port)),
        Box::new(move |port| Endpoint::from_v6(destination, port)),
        tcp,
    ))
}
