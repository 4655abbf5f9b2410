//! Segments around the header and behind it. Their acknowledgments must be in the peer's own numbers.

use std::time::Duration;

use proxyip_tests::{Agent, HandOff, RawPeer, Segment, Site, eventually};

use crate::common::{auto_and_translate, header_of_client};
use crate::raw::{DATA, QUESTION, close, expect_answer, with_echo};

auto_and_translate!(what_is_sent_again_or_beside_is_acknowledged_until_a_reset_in_order);

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

fn a_reset_in_order_ends_the_connection(site: &Site, agent: &Agent) {
    let mut peer = RawPeer::new(site, 4001, 80);
    open_and_ask(&mut peer);
    peer.send(RawPeer::RST, &[], &[]);
    let close = agent.wait_event("close", "10.77.1.2:4001");
    assert_eq!(close["bytes_received"], QUESTION.len());
    let sockets = || site.net.server.run("ss -Htn sport = :80");
    eventually("no socket remains", || sockets().is_empty().then_some(()));
}

/// Of a connection from its header to its end, all that a real TCP answers: with delayed acknowledgments, challenges and
/// limits of their rate.
fn what_is_sent_again_or_beside_is_acknowledged_until_a_reset_in_order(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, agent| {
        answer_all(site);
        let mut peer = RawPeer::new(site, 4000, 80);
        peer.open(&[]);
        peer.send(RawPeer::ACK, &[], &[]);
        let start = peer.sequence;
        // The header alone is acknowledged at once. So is its retransmission.
        for _ in 0..2 {
            peer.sequence = start;
            peer.send(DATA, &[], &header_of_client());
            expect_acknowledgment(&mut peer, AT_ONCE);
        }
        peer.send(DATA, &[], QUESTION);
        expect_answer(&mut peer);
        peer.send(RawPeer::ACK, &[], &[]);
        for payload in [[].as_slice(), &[0]] {
            expect_acknowledgment_of_probe(&mut peer, payload);
        }
        // From the middle of the header on: the peer has learnt of a smaller MSS.
        peer.sequence = start.wrapping_add(10);
        peer.send(DATA, &[], &[&header_of_client()[10..], QUESTION, b"and more"].concat());
        assert_eq!(peer.receive_payload(), b"and more");
        peer.send(RawPeer::ACK, &[], &[]);
        expect_challenges(&mut peer);
        peer.send(DATA, &[], b"still here");
        assert_eq!(peer.receive_payload(), b"still here");
        close(&mut peer);
        let answer = peer.receive(SOON).expect("the server's end of the stream");
        assert_eq!(answer.flags, RawPeer::FIN | RawPeer::ACK, "{answer:?}");
        assert_eq!(answer.acknowledgment, peer.sequence, "{answer:?}");
        peer.acknowledgment = peer.acknowledgment.wrapping_add(1);
        peer.send(RawPeer::ACK, &[], &[]);
        let close = agent.wait_event("close", "10.77.1.2:4000");
        let received = QUESTION.len() + b"and more".len() + b"still here".len();
        assert_eq!(close["bytes_received"], received);
        a_reset_in_order_ends_the_connection(site, agent);
    });
}

/// A RST out of order is challenged (RFC 5961 §3).
fn expect_challenges(peer: &mut RawPeer) {
    let next = peer.sequence;
    for beside in [1, 100] {
        peer.sequence = next.wrapping_add(beside);
        peer.send(RawPeer::RST, &[], &[]);
        peer.sequence = next;
        expect_acknowledgment(peer, SOON);
    }
}
