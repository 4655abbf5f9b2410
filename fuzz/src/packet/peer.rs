//! A peer, and what it knows of its connection.

use proxyip_common::{
    address::Endpoint,
    header::{Header, parse},
};
use proxyip_ebpf::host::wire::{Segment, flags};
use proxyip_ebpf::machine::endpoint;

/// One end of a connection.
pub(super) struct Peer {
    /// Its own address, and the host's.
    pub(super) ends: (Endpoint, Endpoint),
    pub(super) trusted: bool,
    pub(super) stream: Vec<u8>,
    /// The header that the stream begins with, if it is a good one.
    pub(super) header: Option<Header>,
    pub(super) life: Life,
    isn: u32,
    /// What it acknowledges: one more than the host's initial sequence number, once it has seen that.
    acknowledgment: u32,
    /// Whether everything that it has sent was as in its stream.
    pub(super) honest: bool,
}

/// How far a peer's connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// The application has not got it yet.
    Waiting,
    /// The application has it.
    Open,
    /// The application has closed it, and the peer has not heard of that.
    Gone,
}

/// Between the initial sequence numbers of one connection and the next.
const NEXT: u32 = 1_000_000;

/// The port that is guarded.
pub(super) const GUARDED: u16 = 443;

/// The peers.
pub(super) fn peers(streams: [Vec<u8>; 2]) -> [Peer; 4] {
    let [first, second] = streams;
    let peer = |own: &str, host: &str, trusted, stream: &[u8], isn| Peer {
        ends: (endpoint(own), endpoint(host)),
        trusted,
        stream: stream.to_vec(),
        header: parse(stream).ok(),
        life: Life::Waiting,
        isn,
        acknowledgment: 1,
        honest: true,
    };
    [
        peer("10.0.0.2:40000", "10.0.1.2:443", true, &first, 1000),
        peer("[2001:db8::2]:40000", "[2001:db8:1::2]:443", true, &second, u32::MAX - 20),
        peer("192.0.2.9:40000", "10.0.1.2:443", false, &first, 5000),
        peer("10.0.0.2:40000", "10.0.1.2:80", true, &first, 6000),
    ]
}

impl Peer {
    /// A segment of the stream: from this offset, at most so many bytes.
    pub(super) fn segment(&self, flags: u8, from: usize, length: usize) -> Segment {
        let from = from.min(self.stream.len());
        // What fits into a packet.
        let end = (from + length.min(9000)).min(self.stream.len());
        let mut segment = self.bare(flags, self.isn.wrapping_add(1).wrapping_add(from as u32));
        segment.payload = self.stream[from..end].to_vec();
        segment
    }

    /// Where in the stream a sequence number is.
    pub(super) fn offset_of(&self, number: u32) -> u32 {
        number.wrapping_sub(self.isn.wrapping_add(1))
    }

    pub(super) fn bare(&self, flags: u8, sequence: u32) -> Segment {
        let acknowledgment = if flags & flags::ACK == 0 { 0 } else { self.acknowledgment };
        Segment::bare(self.ends.0, self.ends.1, sequence, acknowledgment, flags)
    }

    /// Begins another connection, if the last one is gone.
    pub(super) fn begin_anew(&mut self) {
        if self.life == Life::Gone && self.honest {
            self.isn = self.isn.wrapping_add(NEXT);
            self.acknowledgment = 1;
            self.life = Life::Waiting;
        }
    }

    /// Whether the stream cannot begin a header.
    pub(super) fn is_headerless(&self) -> bool {
        !self.stream.starts_with(b"PROXY ") && !self.stream.starts_with(b"\r\n\r\n\0\r\nQUIT\n")
    }

    pub(super) fn syn(&self) -> Segment {
        self.bare(flags::SYN, self.isn)
    }

    pub(super) fn probe(&self) -> Segment {
        self.bare(flags::ACK, self.isn)
    }

    /// Learns from an answer.
    pub(super) fn hear(&mut self, answer: &Segment) {
        let ours = (answer.destination, answer.source) == self.ends;
        let is_syn_ack = answer.flags & (flags::SYN | flags::ACK) == flags::SYN | flags::ACK;
        if ours && is_syn_ack && self.life == Life::Waiting {
            self.acknowledgment = answer.sequence.wrapping_add(1);
        }
    }

    /// Acknowledges so many bytes that the application has sent.
    pub(super) fn acknowledge(&mut self, bytes: u32) {
        self.acknowledgment = self.acknowledgment.wrapping_add(bytes);
    }

    /// Whether the segment is the handshake's bare ACK, or a probe at its place. A copy of it that comes late is not told
    /// apart from one of a handshake in flight.
    pub(super) fn is_of_handshake(&self, segment: &Segment) -> bool {
        segment.payload.is_empty()
            && segment.flags & flags::FIN == 0
            && self.offset_of(segment.sequence) == 0
    }
}
