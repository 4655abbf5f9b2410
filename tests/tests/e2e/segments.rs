//! Segments around the header and behind it, whose acknowledgments have to be in the peer's own numbers.

use std::time::Duration;

use proxyip_tests::{HandOff, RawPeer, Segment, Site, eventually};

use crate::common::{auto_and_translate, header_of_client};
use crate::raw::{DATA, QUESTION, close, expect_answer, with_echo};

auto_and_translate!(
    the_header_alone_is_acknowledged_at_once,
    probes_before_the_header_are_answered,
    probes_of_an_established_connection_are_answered,
    the_first_segment_again_is_acknowledged_and_not_read_again,
    the_first_segment_again_with_more_payload,
    the_end_of_the_first_segment_again,
    a_reset_in_order_ends_the_connection,
    a_reset_out_of_order_is_challenged,
    the_end_of_the_stream_is_acknowledged
);

/// Earlier than a peer would send anything again.
const AT_ONCE: Duration = Duration::from_millis(150);
const SOON: Duration = Duration::from_secs(2);

/// The next segment, which must acknowledge all that was sent and hold nothing else.
pub(crate) fn expect_acknowledgment(peer: &mut RawPeer, limit: Duration) -> Segment {
    let answer = peer.receive(limit).expect("an acknowledgment");
    assert_eq!(answer.flags, RawPeer::ACK, "{answer:?}");
    assert_eq!(answer.acknowledgment, peer.sequence, "{answer:?}");
    assert_eq!((answer.sequence, answer.payload.len()), (peer.acknowledgment, 0), "{answer:?}");
    answer
}

/// Sends a keep-alive probe (RFC 9293 §3.8.4) and expects its answer.
pub(crate) fn expect_acknowledgment_of_probe(peer: &mut RawPeer, payload: &[u8]) {
    let next = peer.sequence;
    peer.sequence = next.wrapping_sub(1);
    peer.send(RawPeer::ACK, &[], payload);
    peer.sequence = next;
    expect_acknowledgment(peer, SOON);
}

/// The kernel answers no more than two unexpected segments in a second, and peers do not send more.
pub(crate) fn answer_all(site: &Site) {
    site.net.server.sysctl("ipv4.tcp_invalid_ratelimit", "0");
}

/// Opens a connection and sends header and question.
pub(crate) fn open_and_ask(peer: &mut RawPeer) {
    peer.open(&[]);
    peer.send(RawPeer::ACK, &[], &[]);
    peer.send(DATA, &[], &[header_of_client(), QUESTION.to_vec()].concat());
    expect_answer(peer);
    peer.send(RawPeer::ACK, &[], &[]);
}

fn the_header_alone_is_acknowledged_at_once(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, _| {
        let mut peer = RawPeer::new(site, 4000, 80);
        peer.open(&[]);
        peer.send(RawPeer::ACK, &[], &[]);
        peer.send(DATA, &[], &header_of_client());
        expect_acknowledgment(&mut peer, AT_ONCE);
        peer.send(DATA, &[], QUESTION);
        expect_answer(&mut peer);
        close(&mut peer);
    });
}

fn probes_before_the_header_are_answered(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, agent| {
        answer_all(site);
        let mut peer = RawPeer::new(site, 4000, 80);
        peer.open(&[]);
        peer.send(RawPeer::ACK, &[], &[]);
        for payload in [[].as_slice(), &[0]] {
            expect_acknowledgment_of_probe(&mut peer, payload);
        }
        assert_eq!(agent.counter("handed_over"), 0);
        peer.send(DATA, &[], &[header_of_client(), QUESTION.to_vec()].concat());
        expect_answer(&mut peer);
        close(&mut peer);
    });
}

fn probes_of_an_established_connection_are_answered(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, _| {
        answer_all(site);
        let mut peer = RawPeer::new(site, 4000, 80);
        open_and_ask(&mut peer);
        for payload in [[].as_slice(), &[0]] {
            expect_acknowledgment_of_probe(&mut peer, payload);
        }
        close(&mut peer);
    });
}

fn the_first_segment_again_is_acknowledged_and_not_read_again(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, _| {
        let mut peer = RawPeer::new(site, 4000, 80);
        peer.open(&[]);
        let start = peer.sequence;
        for _ in 0..2 {
            peer.sequence = start;
            peer.send(DATA, &[], &header_of_client());
            expect_acknowledgment(&mut peer, AT_ONCE);
        }
        peer.send(DATA, &[], QUESTION);
        expect_answer(&mut peer);
        peer.send(RawPeer::ACK, &[], &[]);
        let next = peer.sequence;
        peer.sequence = start;
        peer.send(DATA, &[], &[header_of_client(), QUESTION.to_vec()].concat());
        assert_eq!(peer.sequence, next);
        expect_acknowledgment(&mut peer, AT_ONCE);
        close(&mut peer);
    });
}

/// A sender may merge segments when it sends them again (RFC 9293 §3.8.1).
fn the_first_segment_again_with_more_payload(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, _| {
        let mut peer = RawPeer::new(site, 4000, 80);
        let start = peer.sequence.wrapping_add(1);
        open_and_ask(&mut peer);
        peer.sequence = start;
        peer.send(DATA, &[], &[&header_of_client(), QUESTION, b"and more"].concat());
        assert_eq!(peer.receive_payload(), b"and more");
        peer.send(RawPeer::ACK, &[], &[]);
        expect_acknowledgment_of_probe(&mut peer, &[]);
        close(&mut peer);
    });
}

/// From the middle of the header on: the peer has learnt of a smaller MSS.
fn the_end_of_the_first_segment_again(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, _| {
        let mut peer = RawPeer::new(site, 4000, 80);
        let start = peer.sequence.wrapping_add(1);
        open_and_ask(&mut peer);
        peer.sequence = start.wrapping_add(10);
        let rest = [&header_of_client()[10..], QUESTION, b"and more"].concat();
        peer.send(DATA, &[], &rest);
        assert_eq!(peer.receive_payload(), b"and more");
        close(&mut peer);
    });
}

fn a_reset_in_order_ends_the_connection(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, agent| {
        let mut peer = RawPeer::new(site, 4000, 80);
        open_and_ask(&mut peer);
        peer.send(RawPeer::RST, &[], &[]);
        let close = agent.wait_event("close", "10.77.1.2:4000");
        assert_eq!(close["bytes_received"], QUESTION.len());
        let sockets = || site.net.server.run("ss -Htn sport = :80");
        eventually("no socket remains", || sockets().is_empty().then_some(()));
    });
}

/// RFC 5961 §3.
fn a_reset_out_of_order_is_challenged(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, _| {
        answer_all(site);
        let mut peer = RawPeer::new(site, 4000, 80);
        open_and_ask(&mut peer);
        let next = peer.sequence;
        for beside in [1, 100] {
            peer.sequence = next.wrapping_add(beside);
            peer.send(RawPeer::RST, &[], &[]);
            peer.sequence = next;
            expect_acknowledgment(&mut peer, SOON);
        }
        peer.send(DATA, &[], b"still here");
        assert_eq!(peer.receive_payload(), b"still here");
        close(&mut peer);
    });
}

fn the_end_of_the_stream_is_acknowledged(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, agent| {
        let mut peer = RawPeer::new(site, 4000, 80);
        open_and_ask(&mut peer);
        close(&mut peer);
        let answer = peer.receive(SOON).expect("the server's end of the stream");
        assert_eq!(answer.flags, RawPeer::FIN | RawPeer::ACK, "{answer:?}");
        assert_eq!(answer.acknowledgment, peer.sequence, "{answer:?}");
        peer.acknowledgment = peer.acknowledgment.wrapping_add(1);
        peer.send(RawPeer::ACK, &[], &[]);
        let close = agent.wait_event("close", "10.77.1.2:4000");
        assert_eq!(close["bytes_received"], QUESTION.len());
    });
}
