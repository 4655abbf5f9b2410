//! Segments around the header and behind it: what is sent again, early, or with less than a peer usually sends.

use proxyip_common::counter::{Counter, DropReason};

use super::{
    conversation::{CONSUMING, Conversation, LINUX, QUESTION, TRANSLATE, ends4, ends6},
    headers::{self, CLIENT},
    machine::{Fate, endpoint},
    wire::flags,
};

/// A version 2 header, and the first words behind it.
fn stream() -> Vec<u8> {
    [headers::v2(), QUESTION.to_vec()].concat()
}

/// Length of that header.
fn header_length() -> usize {
    headers::v2().len()
}

/// A connection whose header and first words have been read.
fn served(way: super::conversation::Way) -> Conversation {
    let mut peer = Conversation::opened(way);
    peer.send_range(&stream(), 0..stream().len());
    peer.assert_served(CLIENT, QUESTION);
    peer
}

#[test]
fn a_peer_that_offers_no_option_is_offered_the_mss_alone() {
    for way in CONSUMING {
        for (ends, mss) in [(ends4(), [5, 180]), (ends6(), [5, 160])] {
            let mut peer = Conversation::new(way, ends);
            let answer = peer.open(&[]);
            if !matches!(way.hand_off, proxyip_common::flow::HandOff::Translate) {
                assert_eq!(answer.options, [[2, 4], mss].concat(), "{}", way.name);
            }
            peer.send_range(&stream(), 0..stream().len());
            peer.assert_served(CLIENT, QUESTION);
        }
    }
}

#[test]
fn the_first_segment_may_come_twice() {
    for way in CONSUMING {
        let mut peer = served(way);
        let bytes = stream();
        let answers = peer.send_range(&bytes, 0..bytes.len());
        peer.expect_acknowledgment("the first segment again", &answers, bytes.len());
        peer.assert_served(CLIENT, QUESTION);
        peer.send(bytes.len() as i32, flags::ACK, b"next");
        peer.assert_served(CLIENT, &[QUESTION, b"next"].concat());
        assert_eq!(peer.drops(), []);
    }
}

/// The peer would send it again after its timer.
#[test]
fn the_header_alone_is_acknowledged_at_once() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let (header, bytes) = (headers::v2(), stream());
        for what in ["the header", "the header again"] {
            let answers = peer.send_range(&header, 0..header.len());
            peer.expect_acknowledgment(what, &answers, header.len());
        }
        peer.send_range(&bytes, header.len()..bytes.len());
        peer.assert_served(CLIENT, QUESTION);
    }
}

/// A sender may merge segments when it sends them again (RFC 9293 §3.8.1).
#[test]
fn the_header_may_come_again_together_with_payload() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let bytes = stream();
        peer.send_range(&bytes, 0..header_length());
        peer.send_range(&bytes, 0..bytes.len());
        peer.assert_served(CLIENT, QUESTION);
        let more = [&bytes[..], b"and more"].concat();
        let answers = peer.send_range(&more, 0..more.len());
        peer.expect_acknowledgment("more", &answers, more.len());
        peer.assert_served(CLIENT, &[QUESTION, b"and more"].concat());
    }
}

/// From the middle of the header on: the peer has learnt of a smaller MSS.
#[test]
fn the_end_of_the_first_segment_may_come_again() {
    for way in CONSUMING {
        for from in [10, header_length(), header_length() + 3] {
            let mut peer = served(way);
            let more = [&stream()[..], b"and more"].concat();
            let answers = peer.send_range(&more, from..more.len());
            peer.expect_acknowledgment("more", &answers, more.len());
            peer.assert_served(CLIENT, &[QUESTION, b"and more"].concat());
        }
    }
}

#[test]
fn payload_that_overtakes_the_header_comes_again() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let bytes = stream();
        let answers = peer.send_range(&bytes, header_length()..bytes.len());
        assert_eq!((answers, &peer.fates[..]), (vec![], &[Fate::Dropped][..]), "{}", way.name);
        assert_eq!(peer.count(Counter::OutOfOrder), 1);
        peer.send_range(&bytes, 0..header_length());
        peer.send_range(&bytes, header_length()..bytes.len());
        peer.assert_served(CLIENT, QUESTION);
    }
}

/// With TCP Fast Open the application would have it before its header.
#[test]
fn payload_of_a_syn_is_not_acknowledged_and_comes_again() {
    for way in CONSUMING {
        let mut peer = Conversation::new(way, ends4());
        let mut syn = peer.segment(-1, flags::SYN, b"early");
        syn.options = LINUX.to_vec();
        let [answer] = &peer.exchange(&syn)[..] else { panic!("one SYN-ACK") };
        assert_eq!(answer.acknowledgment, peer.start, "only the SYN is acknowledged");
        peer.acknowledgment = answer.sequence.wrapping_add(1);
        peer.send_range(&stream(), 0..stream().len());
        peer.assert_served(CLIENT, QUESTION);
    }
}

#[test]
fn probes_before_the_header_are_answered() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        for payload in [&[][..], &[0]] {
            let answers = peer.send(-1, flags::ACK, payload);
            peer.expect_acknowledgment("a probe", &answers, 0);
        }
        assert_eq!(peer.count(Counter::HandedOver), 0);
        peer.send_range(&stream(), 0..stream().len());
        peer.assert_served(CLIENT, QUESTION);
    }
}

/// A cookie is too short to be believed on its own: who is not trusted when the header comes could have guessed it.
#[test]
fn trust_is_asked_for_when_the_header_comes() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        peer.machine.trust(0, endpoint("10.0.0.2:0"), 128, false);
        let answers = peer.send_range(&stream(), 0..stream().len());
        peer.expect_reset("a header of a source that is trusted no longer", &answers);
        assert_eq!((peer.received(), peer.count(Counter::HandedOver)), (None, 0), "{}", way.name);
        let remembered = way.hand_off as u8 == TRANSLATE.hand_off as u8;
        let expected = remembered.then_some((DropReason::TrustWithdrawn, 1));
        assert_eq!(peer.drops(), expected.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_reset_in_order_ends_the_connection_and_no_other_does() {
    for way in CONSUMING {
        let mut peer = served(way);
        let end = stream().len() as i32;
        for beside in [-1, 1, 100] {
            peer.send(end + beside, flags::RST, b"");
            peer.assert_served(CLIENT, QUESTION);
        }
        peer.send(end, flags::RST, b"");
        assert_eq!((peer.received(), peer.machine.records()), (None, 0), "{}", way.name);
        assert_eq!(peer.count(Counter::Closed), 1);
    }
}
