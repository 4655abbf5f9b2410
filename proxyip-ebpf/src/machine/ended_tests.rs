//! Connections that have ended: their peers learn of it at once, and nothing of theirs opens another.

use proxyip_common::{
    address::Endpoint,
    counter::{Counter, DropReason},
    settings::{Policy, Untrusted},
};

use super::{
    conversation::{
        ACCEPT, CONSUMING, Conversation, LINUX, OBSERVE, QUESTION, SECOND, Way, ends4, ends6,
    },
    endpoint,
    headers::{self, CLIENT},
    stack,
};
use crate::host::{
    frame::{Checksum, Frame},
    wire::{Segment, flags},
};

/// A version 2 header, and the first words behind it.
fn stream() -> Vec<u8> {
    [headers::v2(), QUESTION.to_vec()].concat()
}

/// Where the peer's stream ends.
fn end() -> i32 {
    i32::try_from(stream().len()).unwrap()
}

/// A connection on which the server has sent so many bytes before it closed, in a way that the peer has not heard of.
fn ended(way: Way, ends: (Endpoint, Endpoint), sent: u32) -> Conversation {
    let mut peer = Conversation::new(way, ends);
    peer.open(LINUX);
    peer.send_range(&stream(), 0..stream().len());
    peer.assert_served(CLIENT, QUESTION);
    peer.machine.count_sent(ends.0, ends.1, sent);
    peer.acknowledgment = peer.acknowledgment.wrapping_add(sent);
    peer.machine.forget(ends.0, ends.1);
    peer
}

#[test]
fn a_peer_whose_connection_is_gone_gets_a_reset() {
    for way in CONSUMING {
        for ends in [ends4(), ends6()] {
            for sent in [0, 1, 255, 256, 512, 100_000, 1 << 24, 3 << 30] {
                for (offset, flags, payload) in [
                    (end(), flags::ACK, &b"more"[..]),
                    (end() - 1, flags::ACK, b""),
                    (end() - 1, flags::ACK, b"\n"),
                    (end(), flags::ACK, b""),
                    (end(), flags::ACK | flags::FIN, b""),
                    (end() + 100_000, flags::ACK, b"far ahead"),
                ] {
                    let mut peer = ended(way, ends, sent);
                    peer.wait(60 * SECOND);
                    let answers = peer.send(offset, flags, payload);
                    peer.expect_reset(&format!("{sent} bytes sent, offset {offset}"), &answers);
                    assert_eq!(peer.drops(), []);
                }
            }
        }
    }
}

/// Whose connection that was is not known: the ports may be damaged.
#[test]
fn a_damaged_segment_of_a_connection_that_is_gone_is_not_answered() {
    for way in CONSUMING {
        for ends in [ends4(), ends6()] {
            let mut peer = Conversation::new(way, ends);
            for (flags, payload) in [(flags::ACK, &b""[..]), (flags::ACK, b"more")] {
                let mut frame = peer.segment(end(), flags, payload).frame();
                *frame.last_mut().expect("a byte") ^= 1;
                let length = frame.len();
                peer.receive(Frame::new(frame, length, Checksum::None));
                assert_eq!(peer.machine.sent().len(), 0, "{}", way.name);
            }
            assert_eq!(peer.drops(), [(DropReason::Checksum, 2)], "{}", way.name);
        }
    }
}

#[test]
fn a_damaged_syn_of_an_untrusted_source_is_not_refused_but_dropped() {
    for untrusted in [Untrusted::Reset, Untrusted::Drop] {
        for local in ["10.0.1.2:443", "[fd00:1::2]:443"] {
            let stranger =
                if local.starts_with('[') { "[fd01::2]:40000" } else { "192.0.2.9:40000" };
            let mut peer = Conversation::new(ACCEPT, (endpoint(stranger), endpoint(local)));
            let policy = Policy { untrusted: untrusted as u8, ..Policy::default() };
            peer.machine.judge_by(0, policy);
            let mut syn = peer.segment(-1, flags::SYN, b"");
            syn.options = LINUX.to_vec();
            let mut frame = syn.frame();
            *frame.last_mut().expect("a byte") ^= 1;
            let length = frame.len();
            peer.receive(Frame::new(frame, length, Checksum::None));
            assert_eq!(peer.machine.sent().len(), 0, "{untrusted:?}");
            assert_eq!(peer.drops(), [(DropReason::Checksum, 1)], "{untrusted:?}");
        }
    }
}

/// The network has kept one, or the peer has not heard its acknowledgment.
#[test]
fn a_first_segment_that_comes_late_opens_nothing() {
    for way in CONSUMING {
        for ends in [ends4(), ends6()] {
            for wait in [0, SECOND, 300 * SECOND] {
                let mut peer = ended(way, ends, 0);
                peer.wait(wait);
                for _ in 0..2 {
                    let answers = peer.send_range(&stream(), 0..stream().len());
                    peer.expect_reset("the first segment again", &answers);
                }
                assert_eq!((peer.received(), peer.count(Counter::HandedOver)), (None, 1));
            }
        }
    }
}

#[test]
fn the_port_of_a_connection_that_has_ended_can_be_used_again() {
    for ends in [ends4(), ends6()] {
        for sent in [0, 1000] {
            let mut peer = ended(ACCEPT, ends, sent);
            for _ in 0..3 {
                peer.begin_anew();
                peer.open(LINUX);
                // One that has overtaken the header is not taken for one of the old connection.
                let (header, bytes) = (headers::v2(), stream());
                assert_eq!(peer.send_range(&bytes, header.len()..bytes.len()), []);
                assert_eq!(peer.send(-1, flags::ACK, b"").len(), 1, "a probe is answered");
                peer.send_range(&bytes, 0..bytes.len());
                peer.assert_served(CLIENT, QUESTION);
                peer.machine.forget(ends.0, ends.1);
            }
            assert_eq!(peer.count(Counter::CookieForeign), 0);
        }
    }
}

/// The handshake was remembered until the header came.
#[test]
fn a_peer_whose_observed_connection_is_gone_gets_a_reset() {
    for ends in [ends4(), ends6()] {
        for length in [0, stream().len()] {
            let mut peer = Conversation::new(OBSERVE, ends);
            peer.open(LINUX);
            peer.send_range(&stream(), 0..length);
            assert_eq!(peer.received(), Some(stream()[..length].to_vec()));
            peer.machine.forget(ends.0, ends.1);
            for offset in [end(), end() + 100, 0] {
                let answers = peer.send(offset, flags::ACK, b"more");
                peer.expect_reset_of_peer("a segment that comes late", &answers);
            }
            assert_eq!(peer.drops(), []);
        }
    }
}

/// Others detach programs. Nobody noticed that the first connection was established, nor how the second one began.
#[test]
fn a_connection_that_no_program_has_seen_begin_does_not_get_an_earlier_client() {
    for way in CONSUMING {
        for ends in [ends4(), ends6()] {
            let mut peer = Conversation::new(way, ends);
            peer.machine.adjust(|state| state.accept_queue_full = true);
            peer.open(LINUX);
            peer.send_range(&stream(), 0..stream().len());
            assert_eq!(peer.machine.records(), 1, "{}", way.name);
            peer.machine.adjust(|state| state.accept_queue_full = false);
            peer.machine.forget(ends.0, ends.1);
            peer.wait(60 * SECOND);
            peer.begin_anew();
            let mut syn = peer.segment(-1, flags::SYN, b"");
            syn.acknowledgment = 0;
            let unseen = |segment: &Segment| {
                let frame = segment.frame();
                let length = frame.len();
                stack::receive(&Frame::new(frame, length, Checksum::None));
            };
            unseen(&syn);
            let answers = peer.machine.sent();
            let [answer] = &answers[..] else { panic!("one SYN-ACK") };
            let answer = Segment::read(&answer.on_the_wire(), true).expect("a segment");
            peer.acknowledgment = answer.sequence.wrapping_add(1);
            unseen(&peer.segment(0, flags::ACK, b""));
            assert_eq!(peer.received(), Some(vec![]), "{}", way.name);
            assert_eq!(peer.machine.records(), 0, "{}", way.name);
        }
    }
}
