//! Segments around the header and behind it: what is sent again, early, or with less than a peer usually sends.

use proxyip_common::counter::{Counter, DropReason};

use super::{
    Fate,
    conversation::{
        ACCEPT, CONSUMING, Conversation, LINUX, QUESTION, SECOND, TRANSLATE, ends4, ends6,
    },
    endpoint,
    headers::{self, CLIENT},
};
use crate::host::{
    frame::{Checksum, Frame},
    sockets::Socket,
    wire::flags,
};

/// A version 2 header, and the first words behind it.
pub(super) fn stream() -> Vec<u8> {
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
fn the_application_limits_the_mss_that_is_offered() {
    for (ends, most) in [(ends4(), 1460_u16), (ends6(), 1440)] {
        for limit in [0, 536, 1200, most, 9000] {
            let mut peer = Conversation::new(ACCEPT, ends);
            peer.machine.listener(443, |socket| socket.user_mss = limit);
            let answer = peer.open(&[]);
            let offered = if limit == 0 { most } else { limit.min(most) };
            assert_eq!(answer.options, [[2, 4], offered.to_be_bytes()].concat(), "{limit}");
        }
    }
}

/// The load balancer's checks have to fail while the application does not accept.
#[test]
fn a_full_accept_queue_gets_no_syn_ack() {
    for ends in [ends4(), ends6()] {
        let mut peer = Conversation::new(ACCEPT, ends);
        for (waiting, is_answered) in [(0, true), (5, true), (6, false), (u32::MAX, false)] {
            peer.machine
                .listener(443, |socket| (socket.backlog, socket.max_backlog) = (waiting, 5));
            let mut syn = peer.segment(-1, flags::SYN, b"");
            syn.acknowledgment = 0;
            assert_eq!(peer.exchange(&syn).len(), usize::from(is_answered), "{waiting}");
        }
        assert_eq!(peer.drops(), [(DropReason::AcceptQueueFull, 2)]);
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

/// An agent takes over: all that comes meanwhile comes again, before the header and behind it.
#[test]
fn nothing_comes_through_to_a_port_that_is_held() {
    let bytes = stream();
    for way in CONSUMING {
        for length in [0, bytes.len()] {
            let mut peer = Conversation::opened(way);
            peer.send_range(&bytes, 0..length);
            peer.machine.hold(443);
            for ends in [length..bytes.len(), 0..length] {
                assert_eq!(peer.send_range(&bytes, ends), []);
            }
            assert_eq!(peer.drops(), [(DropReason::Held, 2)]);
            peer.configure(way);
            peer.send_range(&bytes, 0..bytes.len());
            peer.assert_served(CLIENT, QUESTION);
            peer.send(bytes.len() as i32, flags::ACK, b"next");
            peer.assert_served(CLIENT, &[QUESTION, b"next"].concat());
        }
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

/// One SYN-ACK, or the segment that would have been answered, was lost.
#[test]
fn a_syn_that_comes_again_is_answered_again() {
    for way in CONSUMING {
        let mut peer = Conversation::new(way, ends4());
        let first = peer.syn(LINUX);
        peer.wait(SECOND);
        let again = peer.syn(LINUX);
        assert_eq!(again.sequence, first.sequence, "{}", way.name);
        peer.send(0, flags::ACK, b"");
        peer.send_range(&stream(), 0..stream().len());
        peer.assert_served(CLIENT, QUESTION);
    }
}

#[test]
fn the_end_of_the_stream_before_the_header_is_reset() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let answers = peer.send(0, flags::FIN | flags::ACK, b"");
        peer.expect_reset_of_peer("FIN", &answers);
        assert_eq!((peer.received(), peer.count(Counter::FinBeforeHeader)), (None, 1));
        assert_eq!(peer.drops(), []);
    }
}

#[test]
fn a_reset_before_the_header_leaves_nothing() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        for _ in 0..2 {
            assert_eq!(peer.send(0, flags::RST | flags::ACK, b""), []);
            let kind = peer.machine.socket(peer.ends.0, peer.ends.1, Socket::kind);
            assert_eq!(kind, None, "{}", way.name);
            peer.begin_anew();
            peer.open(&[]);
        }
        peer.send_range(&stream(), 0..stream().len());
        peer.assert_served(CLIENT, QUESTION);
        assert_eq!(peer.drops(), []);
    }
}

#[test]
fn padding_of_a_frame_is_no_payload() {
    for way in CONSUMING {
        let mut peer = Conversation::new(way, ends4());
        peer.syn(&[]);
        let (header, payload) = (headers::v2(), QUESTION);
        for (offset, bytes) in [(0, &b""[..]), (0, &header), (header.len(), payload)] {
            let segment = peer.segment(offset as i32, flags::ACK, bytes);
            let frame = [segment.frame(), vec![0xaa; 6]].concat();
            peer.receive(Frame::new(frame, 54, Checksum::None));
        }
        assert_eq!(peer.count(Counter::AckDeferred), 1, "{}", way.name);
        peer.assert_served(CLIENT, QUESTION);
    }
}

#[test]
fn sequence_numbers_may_wrap_around_anywhere() {
    let length = u32::try_from(stream().len()).unwrap();
    for way in CONSUMING {
        for before in 0..length + 2 {
            let mut peer = Conversation::new(way, ends4());
            peer.start = 1_u32.wrapping_sub(before);
            peer.open(&[]);
            peer.send_range(&stream(), 0..header_length());
            let answers = peer.send_range(&stream(), header_length()..stream().len());
            peer.expect_acknowledgment("the question", &answers, stream().len());
            peer.assert_served(CLIENT, QUESTION);
        }
    }
}

#[test]
fn a_second_header_belongs_to_the_application() {
    for way in CONSUMING {
        for second in [headers::v1(), headers::v2_with_checksum()] {
            let bytes = [headers::v2(), second.clone()].concat();
            let mut peer = Conversation::opened(way);
            peer.send_range(&bytes, 0..bytes.len());
            peer.assert_served(CLIENT, &second);
        }
    }
}
