//! The frames of a capture, and the TCP segments in them.
//!
//! By hand: the format is two headers of fixed length, and captures come from one program.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TcpOptionElement, TransportSlice};

/// Length of the file's header, bytes.
const FILE_HEADER: usize = 24;
/// Length of the header of each frame, bytes.
const FRAME_HEADER: usize = 16;

/// A file that tcpdump has written, or is still writing.
#[derive(Debug)]
pub(crate) struct Pcap {
    bytes: Vec<u8>,
}

/// One frame of a capture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CapturedFrame<'a> {
    /// When it came, since 1970.
    time: Duration,
    /// What was captured of it.
    pub(crate) bytes: &'a [u8],
}

/// One TCP segment of a capture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CapturedSegment {
    /// Who sent it.
    pub source: SocketAddr,
    /// Its destination.
    pub destination: SocketAddr,
    /// Sequence number.
    pub sequence: u32,
    /// The acknowledgment field, whether the ACK flag is set or not.
    pub acknowledgment: u32,
    /// CWR to FIN, the latter in the lowest bit.
    pub flags: u8,
    /// The window field, not scaled.
    pub window: u16,
    /// The checksum field.
    pub checksum: u16,
    /// The options, with their padding.
    pub options: Vec<u8>,
    /// How much payload there was on the wire, bytes.
    pub length: u32,
    /// What was captured of the payload.
    pub payload: Vec<u8>,
    /// When it came, since the first frame of the capture.
    pub time: Duration,
}

impl Pcap {
    /// Reads the file.
    ///
    /// # Panics
    /// When the file is none of tcpdump's.
    pub(crate) fn read(file: &Path) -> Self {
        let bytes = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let magic = 0xa1b2_c3d4_u32.to_ne_bytes();
        assert!(bytes.starts_with(&magic), "{}: another format", file.display());
        Self { bytes }
    }

    /// The frames in the order of the file. The last one is left out while it is still being written.
    pub(crate) fn frames(&self) -> impl Iterator<Item = CapturedFrame<'_>> {
        let mut rest = self.bytes.get(FILE_HEADER..).unwrap_or_default();
        std::iter::from_fn(move || {
            let number = |offset: usize| {
                let bytes = rest.get(offset..offset + 4)?;
                Some(u32::from_ne_bytes(bytes.try_into().expect("four bytes")))
            };
            let time = Duration::new(number(0)?.into(), number(4)? * 1000);
            let end = FRAME_HEADER + usize::try_from(number(8)?).expect("a short frame");
            let bytes = rest.get(FRAME_HEADER..end)?;
            rest = &rest[end..];
            Some(CapturedFrame { time, bytes })
        })
    }

    /// The TCP segments in the order of the file. Their headers must be in the capture; payload may be missing.
    pub(crate) fn segments(&self) -> impl Iterator<Item = CapturedSegment> {
        let start = self.frames().next().map_or(Duration::ZERO, |frame| frame.time);
        self.frames().filter_map(move |frame| CapturedSegment::parse(frame, start))
    }
}

impl CapturedSegment {
    /// The segment in a frame, if it holds one.
    fn parse(frame: CapturedFrame<'_>, start: Duration) -> Option<Self> {
        let packet = LaxSlicedPacket::from_ethernet(frame.bytes).ok()?;
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { return None };
        // How long the packet was on the wire, not in the capture.
        let (source, destination, carried): (IpAddr, IpAddr, _) = match packet.net.as_ref()? {
            LaxNetSlice::Ipv4(ip) => {
                let header = ip.header();
                let carried = header.total_len().checked_sub(u16::from(header.ihl()) * 4)?;
                (header.source_addr().into(), header.destination_addr().into(), carried)
            }
            LaxNetSlice::Ipv6(ip) => {
                let header = ip.header();
                let (source, destination) = (header.source_addr(), header.destination_addr());
                (source.into(), destination.into(), header.payload_length())
            }
            LaxNetSlice::Arp(_) => return None,
        };
        Some(Self {
            source: (source, tcp.source_port()).into(),
            destination: (destination, tcp.destination_port()).into(),
            sequence: tcp.sequence_number(),
            acknowledgment: tcp.acknowledgment_number(),
            flags: tcp.header_slice()[13],
            window: tcp.window_size(),
            checksum: tcp.checksum(),
            options: tcp.options().to_vec(),
            length: u32::from(carried.checked_sub(u16::from(tcp.data_offset()) * 4)?),
            payload: tcp.payload().to_vec(),
            time: frame.time.saturating_sub(start),
        })
    }

    /// Whether the sender ends its direction.
    #[must_use]
    pub const fn fin(&self) -> bool {
        self.flags & 0x01 != 0
    }

    /// Whether the sender begins its direction.
    #[must_use]
    pub const fn syn(&self) -> bool {
        self.flags & 0x02 != 0
    }

    /// Whether the sender gives the connection up.
    #[must_use]
    pub const fn rst(&self) -> bool {
        self.flags & 0x04 != 0
    }

    /// Whether the acknowledgment field counts.
    #[must_use]
    pub const fn ack(&self) -> bool {
        self.flags & 0x10 != 0
    }

    /// How many sequence numbers it takes: payload, SYN and FIN.
    #[must_use]
    pub fn numbers(&self) -> u32 {
        self.length + u32::from(self.syn()) + u32::from(self.fin())
    }

    /// The options that have a meaning here, up to the first that is broken.
    fn parsed_options(&self) -> Vec<TcpOptionElement> {
        let options = etherparse::TcpOptionsIterator::from_slice(&self.options);
        options.map_while(Result::ok).collect()
    }

    /// Whether it has an option of this kind, known here or not.
    #[must_use]
    pub fn has_option(&self, kind: u8) -> bool {
        let mut rest = self.options.as_slice();
        // RFC 9293 §3.1: kinds 0 and 1 have no length.
        while let [first, ..] = rest {
            if *first == kind {
                return true;
            }
            let length = match (first, rest.get(1)) {
                (1, _) => 1,
                (0, _) | (_, None | Some(0 | 1)) => return false,
                (_, Some(length)) => usize::from(*length),
            };
            rest = rest.get(length..).unwrap_or_default();
        }
        false
    }

    /// The maximum segment size that it offers, bytes.
    #[must_use]
    pub fn mss(&self) -> Option<u16> {
        self.parsed_options().into_iter().find_map(|option| match option {
            TcpOptionElement::MaximumSegmentSize(mss) => Some(mss),
            _ => None,
        })
    }

    /// SACK blocks: the first number of each, and the first one after it.
    pub(crate) fn blocks(&self) -> Vec<(u32, u32)> {
        let mut blocks = Vec::new();
        for option in self.parsed_options() {
            if let TcpOptionElement::SelectiveAcknowledgement(first, more) = option {
                blocks.push(first);
                blocks.extend(more.into_iter().flatten());
            }
        }
        blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, TcpOptionElement::MaximumSegmentSize};

    /// A capture of two frames with a segment each.
    fn capture() -> Vec<u8> {
        let mut capture = [&0xa1b2_c3d4_u32.to_ne_bytes()[..], &[0; FILE_HEADER - 4]].concat();
        for (seconds, microseconds, payload) in [(100_u32, 900_000_u32, &b""[..]), (102, 0, b"abc")]
        {
            let packet =
                PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9);
            let mut frame = Vec::new();
            let segment = packet.tcp(4000, 80, 7, 512).syn().options(&[MaximumSegmentSize(1460)]);
            segment.expect("room").write(&mut frame, payload).expect("a Vec grows");
            let length = u32::try_from(frame.len()).expect("a short frame");
            for field in [seconds, microseconds, length, length] {
                capture.extend(field.to_ne_bytes());
            }
            capture.extend(frame);
        }
        capture
    }

    #[test]
    fn segments_are_read_with_all_that_they_have() {
        let pcap = Pcap { bytes: capture() };
        let segments: Vec<_> = pcap.segments().collect();
        let [first, second] = segments.as_slice() else { panic!("{segments:?}") };
        assert_eq!(first.source.to_string(), "10.0.0.1:4000");
        assert_eq!(first.destination.to_string(), "10.0.0.2:80");
        assert!(first.syn() && !first.ack() && !first.fin() && !first.rst());
        assert_eq!((first.sequence, first.window, first.numbers()), (7, 512, 1));
        assert_eq!(first.mss(), Some(1460));
        assert!(first.has_option(2) && !first.has_option(30));
        assert_eq!((second.payload.as_slice(), second.numbers()), (&b"abc"[..], 4));
        assert_eq!(second.time, Duration::from_millis(1100));
    }

    #[test]
    fn a_frame_that_is_still_being_written_is_left_out() {
        let mut bytes = capture();
        bytes.pop();
        assert_eq!(Pcap { bytes }.frames().count(), 1);
        assert_eq!(Pcap { bytes: capture()[..10].to_vec() }.frames().count(), 0);
    }

    #[test]
    fn options_are_found_behind_others() {
        let mut segment = Pcap { bytes: capture() }.segments().next().expect("a segment");
        segment.options = vec![1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 30, 4, 0, 0];
        assert!(segment.has_option(8) && segment.has_option(30) && !segment.has_option(2));
        segment.options = vec![30, 0, 2, 4];
        assert!(segment.has_option(30) && !segment.has_option(2));
    }
}
