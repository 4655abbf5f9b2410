//! Headers that are longer than what is kept of one.

use proxyip_common::{
    counter::{Counter, DropReason},
    flow::FlowRecord,
};

use super::{
    conversation::{ACCEPT, CONSUMING, Conversation, OBSERVE, QUESTION, TRANSLATE, Way},
    headers::{CLIENT, v2_long},
};
use crate::host::wire::flags;

const LONGEST: usize = 65_551;
const WAYS: [Way; 4] = [ACCEPT, TRANSLATE, super::conversation::BASIC, OBSERVE];

/// A header of this length and what follows it.
fn stream(length: usize) -> Vec<u8> {
    [&v2_long(length, 5000.min(length / 2)), QUESTION].concat()
}

/// Sends the stream in segments of at most `most` bytes. Each must be answered, and none lost.
fn send_all(peer: &mut Conversation, bytes: &[u8], most: usize) {
    let header = bytes.len() - QUESTION.len();
    for start in (0..bytes.len()).step_by(most) {
        let end = bytes.len().min(start + most);
        let answers = peer.send_range(bytes, start..end);
        assert!(!answers.is_empty(), "{}: {start}..{end} of {header} unanswered", peer.way.name);
        assert_eq!(answers[0].flags & flags::RST, 0, "{}: {start}..{end}", peer.way.name);
        let upto = answers.last().unwrap().acknowledgment.wrapping_sub(peer.start) as usize;
        assert_eq!(upto, end, "{}", peer.way.name);
    }
}

#[test]
fn a_long_header_comes_in_order_and_is_skipped() {
    for way in CONSUMING {
        for length in [4097, 4112, 5000, 8192, 65_535, 65_536, LONGEST] {
            for most in [1448, 8948, 60_000] {
                let mut peer = Conversation::opened(way);
                let bytes = stream(length);
                send_all(&mut peer, &bytes, most);
                peer.assert_served(CLIENT, QUESTION);
                let record = peer.machine.record(peer.ends.0, peer.ends.1).unwrap();
                assert_eq!(record.length_of_header() as usize, length, "{}", way.name);
                assert!(record.has(FlowRecord::TLVS));
                assert_eq!(peer.drops(), [], "{}", way.name);
                // The connection goes on in both directions.
                let answers = peer.send(bytes.len() as i32, flags::ACK, b"more");
                peer.expect_acknowledgment("more", &answers, bytes.len() + 4);
                peer.assert_served(CLIENT, &[QUESTION, b"more"].concat());
            }
        }
    }
}

#[test]
fn a_long_header_is_observed_and_left_in_place() {
    for length in [4097, 20_000, LONGEST] {
        let mut peer = Conversation::opened(OBSERVE);
        let bytes = stream(length);
        send_all(&mut peer, &bytes, 1448);
        peer.assert_served(CLIENT, &bytes);
        assert_eq!(peer.drops(), []);
    }
}

/// Where parts overlap, come twice, or are cut anywhere around what is kept.
#[test]
fn a_long_header_may_be_cut_anywhere() {
    for way in CONSUMING {
        let bytes = stream(9000);
        for at in [1, 11, 12, 15, 16, 17, 30, 4095, 4096, 4097, 8999] {
            let mut peer = Conversation::opened(way);
            peer.send_part(&bytes, 0..at, at);
            peer.send_part(&bytes, 0..at, at);
            let next = (at + 40).min(8999);
            if next > at {
                peer.send_part(&bytes, at.saturating_sub(5)..next, next);
            }
            peer.send_range(&bytes, at.saturating_sub(9)..bytes.len());
            peer.assert_served(CLIENT, QUESTION);
            assert_eq!(peer.drops(), [], "{}: cut at {at}", way.name);
        }
    }
}

#[test]
fn a_long_header_whose_checksum_is_wrong_is_refused() {
    for way in CONSUMING {
        for index in [20, 4095, 4096, 30_000, 64_999] {
            let mut peer = Conversation::opened(way);
            let mut bytes = stream(65_000);
            bytes[index] ^= 1;
            for start in (0..64_000).step_by(1000) {
                peer.send_part(&bytes, start..start + 1000, start + 1000);
            }
            let answers = peer.send_range(&bytes, 64_000..bytes.len());
            peer.expect_reset("a wrong checksum", &answers);
            assert_eq!(peer.drops(), [(DropReason::V2Checksum, 1)], "{}, {index}", way.name);
        }
    }
}

/// Nothing of one flow's long header is read for another's.
#[test]
fn long_headers_of_two_connections_may_interleave() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let (first, second) = (stream(10_000), stream(7000));
        let other = (super::endpoint("10.0.0.2:40001"), peer.ends.1);
        peer.send_part(&first, 0..5000, 5000);
        let (ends, acknowledgment) = (peer.ends, peer.acknowledgment);
        peer.ends = other;
        peer.acknowledgment = 0;
        peer.open(&[]);
        peer.send_part(&second, 0..6000, 6000);
        let of_other = peer.acknowledgment;
        (peer.ends, peer.acknowledgment) = (ends, acknowledgment);
        peer.send_range(&first, 5000..first.len());
        peer.assert_served(CLIENT, QUESTION);
        (peer.ends, peer.acknowledgment) = (other, of_other);
        peer.send_range(&second, 6000..second.len());
        peer.assert_served(CLIENT, QUESTION);
        assert_eq!(peer.count(Counter::HandedOver), 2);
    }
}

#[test]
fn a_segment_that_overtakes_a_part_is_held_back() {
    for way in WAYS {
        let mut peer = Conversation::opened(way);
        let bytes = stream(6000);
        peer.send_range(&bytes, 0..4500);
        peer.send_range(&bytes, 5500..bytes.len());
        assert_eq!(peer.count(Counter::OutOfOrder), 1, "{}", way.name);
        peer.send_range(&bytes, 4500..5500);
        peer.send_range(&bytes, 5500..bytes.len());
        let seen = if way.name == OBSERVE.name { &bytes[..] } else { QUESTION };
        peer.assert_served(CLIENT, seen);
    }
}
