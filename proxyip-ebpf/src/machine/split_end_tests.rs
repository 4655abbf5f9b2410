//! Headers in parts that come to nothing, or too late, and what is left of them.

use proxyip_common::counter::{Counter, DropReason};

use super::{
    conversation::{ACCEPT, BASIC, CONSUMING, Conversation, HEADER_TIMEOUT, QUESTION, TRANSLATE},
    headers::{self, CLIENT},
    split_tests::stream,
};
use crate::host::{sockets::Socket, wire::flags};

#[test]
fn a_malformed_header_is_reset_as_soon_as_that_shows() {
    let wrong_checksum = {
        let mut header = headers::v2_with_checksum();
        *header.last_mut().unwrap() ^= 1;
        header
    };
    let signature = &headers::v2()[..12];
    let cases: [(DropReason, Vec<u8>, usize); 5] = [
        (DropReason::HeaderMissing, b"PROX_".to_vec(), 4),
        (DropReason::V1Family, b"PROXY UDP".to_vec(), 7),
        (DropReason::V1Address, b"PROXY TCP4 1.2.3.256 ".to_vec(), 12),
        (DropReason::V2Family, [signature, &[0x21, 0x41, 0, 12]].concat(), 14),
        (DropReason::V2Checksum, wrong_checksum, 70),
    ];
    for way in CONSUMING {
        for (reason, bytes, at) in &cases {
            let mut peer = Conversation::opened(way);
            peer.send_part(bytes, 0..*at, *at);
            let answers = peer.send_range(bytes, *at..bytes.len());
            peer.expect_reset(reason.label(), &answers);
            assert_eq!(peer.received(), None, "{reason:?}");
            assert_eq!(peer.drops(), [(*reason, 1)]);
        }
    }
}

#[test]
fn the_end_of_the_stream_within_the_header_is_reset() {
    for way in CONSUMING {
        let bytes = stream();
        let mut apart = Conversation::opened(way);
        apart.send_part(&bytes, 0..20, 20);
        let answers = apart.send(20, flags::FIN | flags::ACK, b"");
        apart.expect_reset("the end alone", &answers);
        assert_eq!(apart.drops(), [(DropReason::HeaderIncomplete, 1)]);

        let mut together = Conversation::opened(way);
        together.send_part(&bytes, 0..1, 1);
        let answers = together.send(1, flags::FIN | flags::ACK, &bytes[1..20]);
        together.expect_reset("the end with a part", &answers);
        assert_eq!(together.drops(), [(DropReason::HeaderIncomplete, 1)]);
    }
}

#[test]
fn a_reset_within_the_header_is_believed() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        peer.send_part(&stream(), 0..20, 20);
        assert_eq!(peer.send(20, flags::RST, b""), []);
        // Nothing is left that could be late, and the kernel has no handshake.
        assert_eq!(peer.machine.begun_headers(), (0, 0), "{}", way.name);
        let kind = peer.machine.socket(peer.ends.0, peer.ends.1, Socket::kind);
        assert_eq!(kind, None, "{}", way.name);
        assert_eq!(peer.drops(), []);
    }
}

#[test]
fn a_reset_beside_the_header_is_not_believed() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let bytes = stream();
        peer.send_part(&bytes, 0..20, 20);
        for offset in [0, 19, 21] {
            peer.send(offset, flags::RST, b"");
            assert_eq!(peer.machine.begun_headers(), (1, 1), "{}", way.name);
        }
    }
}

#[test]
fn a_header_may_take_its_time() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let bytes = stream();
        peer.send_part(&bytes, 0..20, 20);
        peer.wait(HEADER_TIMEOUT);
        peer.send_range(&bytes, 20..bytes.len());
        peer.assert_served(CLIENT, QUESTION);
    }
}

/// Also without the agent, which would have reset it before.
#[test]
fn a_header_that_goes_on_too_late_is_reset() {
    for way in CONSUMING {
        for end in [22, stream().len()] {
            let mut peer = Conversation::opened(way);
            let bytes = stream();
            peer.send_part(&bytes, 0..20, 20);
            peer.wait(HEADER_TIMEOUT + 1);
            let answers = peer.send_range(&bytes, 20..end);
            peer.expect_reset("the next part", &answers);
            assert_eq!(peer.received(), None);
            assert_eq!(peer.drops(), [(DropReason::HeaderTimeout, 1)]);
        }
    }
}

#[test]
fn a_reset_that_was_lost_is_sent_again() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        peer.send_part(&headers::v2(), 0..13, 13);
        for _ in 0..3 {
            // A family that there is not.
            let answers = peer.send(13, flags::ACK, &[0x41, 0, 12]);
            peer.expect_reset("each time", &answers);
        }
        assert_eq!(peer.count(Counter::ResetAgain), 2);
        assert_eq!(peer.drops(), [(DropReason::V2Family, 1)]);
    }
}

/// Its bytes had to make room for those of another one.
#[test]
fn a_header_whose_bytes_are_forgotten_is_reset() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let bytes = stream();
        peer.send_part(&bytes, 0..20, 20);
        peer.machine.forget_header_bytes(peer.ends.0, peer.ends.1);
        let answers = peer.send_range(&bytes, 20..bytes.len());
        peer.expect_reset("the rest", &answers);
        assert_eq!(peer.drops(), [(DropReason::HeaderForgotten, 1)]);
    }
}

#[test]
fn a_new_connection_from_the_same_port_begins_anew() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let bytes = stream();
        peer.send_part(&bytes, 0..20, 20);
        peer.send(20, flags::RST, b"");
        peer.begin_anew();
        peer.open(&[]);
        peer.send_part(&bytes, 0..7, 7);
        peer.send_range(&bytes, 7..bytes.len());
        peer.assert_served(CLIENT, QUESTION);
    }
}

/// A part of an older, translated connection does not belong to a new one that is accepted.
#[test]
fn an_old_part_does_not_choose_the_hand_off() {
    let mut peer = Conversation::opened(TRANSLATE);
    let bytes = stream();
    peer.send_part(&bytes, 0..20, 20);
    // What a peer that knows nothing of the connection answers to a challenge.
    peer.send(0, flags::RST, b"");
    assert_eq!(peer.machine.begun_headers(), (1, 1));
    peer.configure(ACCEPT);
    peer.begin_anew();
    peer.open(&[]);
    peer.send_range(&bytes, 0..bytes.len());
    peer.assert_served(CLIENT, QUESTION);
    assert_eq!(peer.machine.begun_headers(), (0, 0), "what the agent would reset");
}

/// Anybody can send one in the load balancer's name, who does not know its sequence numbers. Its peer was told that the part
/// had arrived.
#[test]
fn a_forged_syn_does_not_end_a_header_that_has_begun() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let bytes = stream();
        peer.send_part(&bytes, 0..20, 20);
        let mut syn = peer.segment(0, flags::SYN, b"");
        (syn.sequence, syn.acknowledgment) = (peer.start.wrapping_add(1 << 20), 0);
        peer.exchange(&syn);
        peer.send_range(&bytes, 20..bytes.len());
        peer.assert_served(CLIENT, QUESTION);
    }
}

/// The agent ends what has begun long ago, with all that the kernel has between the two ends.
#[test]
fn the_kernel_begins_a_handshake_without_an_old_part() {
    for way in [TRANSLATE, BASIC] {
        let mut peer = Conversation::opened(way);
        peer.send_part(&stream(), 0..20, 20);
        peer.machine.forget(peer.ends.0, peer.ends.1);
        peer.begin_anew();
        peer.open(&[]);
        assert_eq!(peer.machine.begun_headers(), (0, 0), "{}", way.name);
    }
}

/// Else completed headers would drive out those that are slow.
#[test]
fn a_header_that_is_complete_needs_no_place() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let bytes = stream();
        peer.send_part(&bytes, 0..20, 20);
        assert_eq!(peer.machine.begun_headers(), (1, 1));
        peer.send_range(&bytes, 20..bytes.len());
        peer.assert_served(CLIENT, QUESTION);
        assert_eq!(peer.machine.begun_headers(), (0, 0), "{}", way.name);
    }
}
