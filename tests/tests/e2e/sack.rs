//! Selective acknowledgments (RFC 2018, RFC 2883) have to be in the peer's own numbers.

use std::time::Duration;

use proxyip_tests::{HandOff, RawPeer, Segment, Site};

use crate::common::header_of_client;
use crate::other_stacks::{TIMESTAMPS, parse};
use crate::raw::{DATA, QUESTION, close, expect_answer, with_echo};

const SACK: u8 = 5;

/// A peer that understands SACK, with the options of each of its segments.
struct Peer {
    raw: RawPeer,
    options: Vec<u8>,
    /// Sequence number of the header.
    start: u32,
}

impl Peer {
    /// Opens a connection, sends header and question, and has its answer.
    fn established(mut raw: RawPeer, timestamps: bool) -> Self {
        let agreement: &[u8] = &[4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0];
        let offer = if timestamps { agreement } else { &[4, 2, 1, 1] };
        let offered = parse(&raw.open(offer).options);
        let value = offered.iter().find(|(kind, _)| *kind == TIMESTAMPS).map(|(_, value)| value);
        assert_eq!(value.is_some(), timestamps, "{offered:?}");
        let options =
            value.map_or_else(Vec::new, |value| [&[1, 1, 8, 10, 0, 0, 0, 8], &value[..4]].concat());
        let start = raw.sequence;
        let mut this = Self { raw, options, start };
        this.send(&[header_of_client(), QUESTION.to_vec()].concat());
        expect_answer(&mut this.raw);
        this.raw.send(RawPeer::ACK, &this.options, &[]);
        this
    }

    fn send(&mut self, payload: &[u8]) {
        self.raw.send(DATA, &self.options, payload);
    }

    /// Sends `length` bytes, `ahead` bytes beyond the next one to send. Returns their range.
    fn send_ahead(&mut self, ahead: u32, length: u32) -> (u32, u32) {
        let next = self.raw.sequence;
        self.raw.sequence = next.wrapping_add(ahead);
        let begin = self.raw.sequence;
        self.send(&vec![b'x'; length.try_into().expect("a short segment")]);
        let end = self.raw.sequence;
        self.raw.sequence = next;
        (begin, end)
    }

    /// The next segment must acknowledge what was sent in order, and report these blocks.
    fn expect_blocks(&mut self, expected: &[(u32, u32)]) {
        let answer = self.raw.receive(Duration::from_secs(2)).expect("an acknowledgment");
        assert_eq!(answer.acknowledgment, self.raw.sequence, "{answer:?}");
        assert_eq!(blocks(&answer), expected, "{answer:?}");
    }
}

/// The SACK blocks of a segment.
fn blocks(segment: &Segment) -> Vec<(u32, u32)> {
    let options = parse(&segment.options);
    let value = options.into_iter().find(|(kind, _)| *kind == SACK).map(|(_, value)| value);
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
    let block = |bytes: &[u8]| (number(&bytes[..4]), number(&bytes[4..]));
    value.unwrap_or_default().chunks(8).map(block).collect()
}

/// The numbers are the kernel's own.
#[test]
fn auto() {
    with_echo(HandOff::Auto, &[], |site, _| gaps(site, 4000, true));
}

/// With timestamps there is less room for blocks.
#[test]
fn translate() {
    with_echo(HandOff::Translate, &[], |site, _| {
        for (port, timestamps) in [(4000, false), (4010, true)] {
            gaps(site, port, timestamps);
            duplicates(site, port + 5, timestamps);
        }
    });
}

/// As many gaps as the option has room for, and more. Then the first gap is closed.
fn gaps(site: &Site, port: u16, timestamps: bool) {
    for (port, wrap) in [(port, None), (port + 1, Some(60))] {
        let mut raw = RawPeer::new(site, port, 80);
        // Blocks on either side of the wrap.
        raw.sequence = wrap.map_or(raw.sequence, |before| 0_u32.wrapping_sub(before));
        let mut peer = Peer::established(raw, timestamps);
        let room = if timestamps { 3 } else { 4 };
        let mut reported = Vec::new();
        for gap in [10, 30, 50, 70, 90] {
            reported.insert(0, peer.send_ahead(gap, 10));
            peer.expect_blocks(&reported[..reported.len().min(room)]);
        }
        let answer = peer.raw.acknowledgment;
        peer.send(&[b'x'; 10]);
        peer.raw.sequence = peer.raw.sequence.wrapping_add(10);
        let echoed = peer.raw.receive_payload();
        assert_eq!((echoed.len(), peer.raw.acknowledgment), (20, answer.wrapping_add(20)));
        peer.raw.send(RawPeer::RST, &[], &[]);
    }
}

/// The header, header and question, a part of the question.
fn duplicates(site: &Site, port: u16, timestamps: bool) {
    let mut peer = Peer::established(RawPeer::new(site, port, 80), timestamps);
    let header = header_of_client();
    let first = [&header, QUESTION].concat();
    for (begin, end) in [(0, header.len()), (0, first.len()), (header.len() + 3, first.len())] {
        let number = |offset: usize| {
            peer.start.wrapping_add(u32::try_from(offset).expect("a short segment"))
        };
        let (again, block) = (number(begin), (number(begin), number(end)));
        let next = peer.raw.sequence;
        peer.raw.sequence = again;
        peer.send(&first[begin..end]);
        peer.raw.sequence = next;
        peer.expect_blocks(&[block]);
    }
    close(&mut peer.raw);
}
