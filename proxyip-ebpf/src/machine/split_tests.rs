//! Headers that come in several segments: the state machine that keeps their parts, on each way to the application.

use proxyip_common::counter::Counter;

use super::{
    Fate,
    conversation::{
        CONSUMING, Conversation, HEADER_TIMEOUT, LINUX, OBSERVE, QUESTION, SECOND, ends4, ends6,
    },
    headers::{self, CLIENT},
};
use crate::host::wire::flags;

/// A version 2 header, and the first words behind it.
pub(super) fn stream() -> Vec<u8> {
    [headers::v2(), QUESTION.to_vec()].concat()
}

#[test]
fn a_header_may_be_split_at_every_byte() {
    for way in CONSUMING {
        for (what, header, client) in headers::all() {
            let bytes = [&header, QUESTION].concat();
            for (at, ends) in (1..header.len()).flat_map(|at| [(at, ends4()), (at, ends6())]) {
                let mut peer = Conversation::new(way, ends);
                peer.open(LINUX);
                peer.send_part(&bytes, 0..at, at);
                assert_eq!(peer.received(), None, "{what}");
                peer.send_range(&bytes, at..bytes.len());
                peer.assert_served(client, QUESTION);
                assert_eq!(peer.count(Counter::HeaderPart), 1, "{what}");
                assert_eq!(peer.count(Counter::HandedOver), 1, "{what}");
                assert_eq!(peer.drops(), [], "{what}");
            }
        }
    }
}

#[test]
fn a_header_may_come_byte_by_byte() {
    for way in CONSUMING {
        for (what, header, client) in headers::all() {
            let mut peer = Conversation::opened(way);
            for at in 0..header.len() - 1 {
                peer.send_part(&header, at..at + 1, at + 1);
            }
            assert_eq!(peer.count(Counter::HeaderPart) as usize, header.len() - 1, "{what}");
            peer.send_range(&header, header.len() - 1..header.len());
            peer.assert_served(client, b"");
            let answers = peer.send(header.len() as i32, flags::ACK, QUESTION);
            let upto = header.len() + QUESTION.len();
            peer.expect_acknowledgment(what, &answers, upto);
            peer.assert_served(client, QUESTION);
        }
    }
}

#[test]
fn what_is_behind_the_header_arrives_whole() {
    for way in CONSUMING {
        let header = headers::v2_with_checksum();
        let bytes: Vec<u8> = (0..20_000_u32).map(|number| ((number * number) >> 5) as u8).collect();
        let stream = [&header[..], &bytes].concat();
        let mut peer = Conversation::opened(way);
        peer.send_part(&stream, 0..5, 5);
        peer.send_part(&stream, 5..60, 60);
        for start in (60..stream.len()).step_by(1000) {
            let end = stream.len().min(start + 1000);
            let answers = peer.send_range(&stream, start..end);
            assert_eq!(answers.last().unwrap().acknowledgment, peer.start.wrapping_add(end as u32));
        }
        peer.assert_served(headers::CLIENT6, &bytes);
    }
}

#[test]
fn parts_may_overlap() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let bytes = stream();
        for (range, upto) in [(0..10, 10), (5..20, 20), (0..25, 25), (24..27, 27)] {
            peer.send_part(&bytes, range, upto);
        }
        peer.send_range(&bytes, 3..bytes.len());
        peer.assert_served(CLIENT, QUESTION);
    }
}

#[test]
fn a_part_that_comes_again_is_acknowledged_again() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let bytes = stream();
        for range in [0..20, 0..20, 0..5, 10..20, 19..20] {
            peer.send_part(&bytes, range, 20);
        }
        assert_eq!(peer.count(Counter::HeaderPart), 5);
        peer.send_range(&bytes, 20..bytes.len());
        peer.assert_served(CLIENT, QUESTION);
        // What belongs to the header is old to TCP as well.
        let answers = peer.send_range(&bytes, 10..bytes.len());
        assert_eq!(answers.len(), 1);
        peer.send(bytes.len() as i32, flags::ACK, b"next");
        peer.assert_served(CLIENT, &[QUESTION, b"next"].concat());
    }
}

/// The acknowledgment was lost, and the peer has merged the segments that it sends again.
#[test]
fn the_header_may_come_whole_after_a_part_of_it() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let bytes = stream();
        peer.send_part(&bytes, 0..20, 20);
        peer.send_range(&bytes, 0..bytes.len());
        peer.assert_served(CLIENT, QUESTION);
        // It lives on when the header would have been late.
        peer.wait(HEADER_TIMEOUT + 2 * SECOND);
        peer.send(bytes.len() as i32, flags::ACK, b"still here");
        peer.assert_served(CLIENT, &[QUESTION, b"still here"].concat());
        assert_eq!(peer.drops(), []);
    }
}

#[test]
fn a_part_that_overtakes_another_is_not_acknowledged() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let bytes = stream();
        for (hole, overtaking) in [(0, 1), (10, 2)] {
            let answers = peer.send_range(&bytes, hole + 5..hole + 10);
            assert_eq!((answers, &peer.fates[..]), (vec![], &[Fate::Dropped][..]));
            assert_eq!(peer.count(Counter::OutOfOrder), overtaking);
            peer.send_part(&bytes, hole..hole + 10, hole + 10);
        }
        peer.send_range(&bytes, 20..bytes.len());
        peer.assert_served(CLIENT, QUESTION);
    }
}

/// A peer that sends other bytes the second time breaks TCP; it must not make two readers disagree.
#[test]
fn bytes_that_were_acknowledged_count() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let bytes = stream();
        peer.send_part(&bytes, 0..20, 20);
        let mut others = bytes.clone();
        // Of the client's address.
        others[16..20].copy_from_slice(&[9, 9, 9, 9]);
        peer.send_range(&others, 12..bytes.len());
        peer.assert_served(CLIENT, QUESTION);
    }
}

#[test]
fn probes_within_the_header_are_answered() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let bytes = stream();
        peer.send_part(&bytes, 0..20, 20);
        for payload in [&[][..], &[0]] {
            let answers = peer.send(19, flags::ACK, payload);
            peer.expect_acknowledgment("a probe", &answers, 20);
        }
        assert_eq!(peer.send(20, flags::ACK, b""), [], "to a bare acknowledgment");
        assert_eq!(peer.count(Counter::HandedOver), 0);
        peer.send_range(&bytes, 20..bytes.len());
        peer.assert_served(CLIENT, QUESTION);
    }
}

/// The header is complete: it is not late, however often its last segment is sent again.
#[test]
fn a_header_in_parts_that_finds_the_accept_queue_full_may_come_later() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let bytes = stream();
        peer.send_part(&bytes, 0..20, 20);
        peer.machine.adjust(|state| state.accept_queue_full = true);
        for _ in 0..2 {
            peer.send_range(&bytes, 20..bytes.len());
            assert_eq!(peer.received(), None);
            peer.wait(SECOND);
        }
        peer.wait(HEADER_TIMEOUT);
        peer.machine.adjust(|state| state.accept_queue_full = false);
        peer.send_range(&bytes, 20..bytes.len());
        peer.assert_served(CLIENT, QUESTION);
    }
}

/// A window that the peer takes for 128 times smaller than it is would make it wait for its timers.
#[test]
fn windows_are_scaled_only_if_both_ends_do_so() {
    for way in CONSUMING {
        for (options, window) in [(&[][..], 64_000), (LINUX, 64_000 >> 7)] {
            let mut peer = Conversation::new(way, ends4());
            peer.open(options);
            let answer = peer.send_part(&stream(), 0..20, 20);
            assert_eq!(answer.window, window, "{}", way.name);
        }
    }
}

#[test]
fn an_observed_header_may_be_split_at_every_byte() {
    let header = headers::v1();
    for at in 1..header.len() {
        let mut peer = Conversation::opened(OBSERVE);
        peer.send_range(&header, 0..at);
        assert_eq!(peer.received().as_deref(), Some(&header[..at]), "the application has it");
        assert_eq!(peer.machine.records(), 0, "not judged yet");
        peer.send_range(&header, at..header.len());
        peer.assert_served(CLIENT, &header);
    }
    let mut peer = Conversation::opened(OBSERVE);
    for at in 0..header.len() {
        peer.send_range(&header, at..at + 1);
    }
    peer.assert_served(CLIENT, &header);
}

/// Else the application would read it before it was judged.
#[test]
fn an_observed_part_that_overtakes_another_waits_for_it() {
    let bytes = [headers::v1(), b"more\n".to_vec()].concat();
    let mut peer = Conversation::opened(OBSERVE);
    for (overtaking, next) in [(1, 0..10), (2, 10..20)] {
        peer.send_range(&bytes, 20..bytes.len());
        assert_eq!(peer.fates, [Fate::Dropped]);
        assert_eq!(peer.count(Counter::OutOfOrder), overtaking);
        peer.send_range(&bytes, next);
    }
    assert_eq!(peer.count(Counter::Established), 0);
    peer.send_range(&bytes, 20..bytes.len());
    peer.assert_served(CLIENT, &bytes);
}
