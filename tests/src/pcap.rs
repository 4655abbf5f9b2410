//! TCP segments in a capture, for looking at more of them than tshark could in any useful time.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TcpOptionElement, TransportSlice};

/// Length of the file's header, bytes.
const FILE_HEADER: usize = 24;
/// Length of the header of each frame, bytes.
const FRAME_HEADER: usize = 16;

/// One segment of a capture.
#[derive(Clone, Debug)]
pub(crate) struct CapturedSegment {
    /// Source port.
    pub(crate) from: u16,
    /// Destination port.
    pub(crate) to: u16,
    /// Sequence number.
    pub(crate) sequence: u32,
    /// How many sequence numbers it takes: payload on the wire, SYN and FIN.
    pub(crate) length: u32,
    /// Acknowledgment number, if it has one.
    pub(crate) acknowledgment: Option<u32>,
    /// SACK blocks: the first number of each, and the first one after it.
    pub(crate) blocks: Vec<(u32, u32)>,
    /// Whether it begins a direction.
    pub(crate) syn: bool,
}

/// The TCP segments of a capture that tcpdump has ended, in order. Of each frame the headers must be in
/// the capture; payload may be missing.
///
/// # Panics
/// When the file is none of tcpdump's.
pub(crate) fn segments(file: &Path) -> impl Iterator<Item = CapturedSegment> {
    let name = file.display().to_string();
    let file = File::open(file).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut reader = BufReader::new(file);
    let mut header = [0; FILE_HEADER];
    reader.read_exact(&mut header).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(header[..4], 0xa1b2_c3d4_u32.to_ne_bytes(), "{name}: another format");
    std::iter::from_fn(move || {
        let mut header = [0; FRAME_HEADER];
        reader.read_exact(&mut header).ok()?;
        let captured = u32::from_ne_bytes(header[8..12].try_into().expect("four bytes"));
        let mut frame = vec![0; captured.try_into().expect("a short frame")];
        reader.read_exact(&mut frame).unwrap_or_else(|error| panic!("{name}: {error}"));
        Some(parse(&frame))
    })
    .flatten()
}

/// The segment in a frame, if it holds one.
fn parse(frame: &[u8]) -> Option<CapturedSegment> {
    let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { return None };
    // How long the packet was on the wire, not in the capture.
    let carried = match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => ip.header().total_len() - u16::from(ip.header().ihl()) * 4,
        LaxNetSlice::Ipv6(ip) => ip.header().payload_length(),
        LaxNetSlice::Arp(_) => return None,
    };
    let payload = carried - u16::from(tcp.data_offset()) * 4;
    let mut blocks = Vec::new();
    for option in tcp.options_iterator().flatten() {
        if let TcpOptionElement::SelectiveAcknowledgement(first, more) = option {
            blocks.push(first);
            blocks.extend(more.into_iter().flatten());
        }
    }
    Some(CapturedSegment {
        from: tcp.source_port(),
        to: tcp.destination_port(),
        sequence: tcp.sequence_number(),
        length: u32::from(payload) + u32::from(tcp.syn()) + u32::from(tcp.fin()),
        acknowledgment: tcp.ack().then(|| tcp.acknowledgment_number()),
        blocks,
        syn: tcp.syn(),
    })
}
