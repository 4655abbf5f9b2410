//! Segments that no ordinary load balancer sends, or not on demand.

use std::time::Duration;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{
    Agent, Capture, Directions, Frame, Guard, HandOff, Offloads, Plan, RawPeer, Site, address,
};

use crate::common::{CLIENT, assert_same, auto_and_translate, header_of_client, pattern};

auto_and_translate!(
    segments_without_any_tcp_option,
    the_first_segment_twice,
    the_header_sent_again_together_with_payload,
    payload_that_overtakes_the_header_comes_again,
    payload_of_a_syn_is_not_acknowledged_and_comes_again,
    a_header_with_60_kilobytes_in_one_packet
);

pub(crate) const DATA: u8 = RawPeer::ACK | RawPeer::PSH;
pub(crate) const QUESTION: &[u8] = b"who am I?\n";

/// Every test here: an echo server on port 80, guarded.
pub(crate) fn with_echo(
    hand_off: HandOff,
    drops: &[(&str, u64)],
    test: impl FnOnce(&Site, &Agent),
) {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    test(&site, &agent);
    site.finish(&mut agent, drops);
}

pub(crate) fn expect_answer(peer: &mut RawPeer) {
    let answer = String::from_utf8(peer.receive_payload()).expect("text");
    assert_eq!(answer, format!("{CLIENT} {CLIENT} \"who am I?\"\n"));
}

/// Ends the connection so that the server's socket does not linger.
pub(crate) fn close(peer: &mut RawPeer) {
    peer.send(RawPeer::FIN | RawPeer::ACK, &[], &[]);
}

fn segments_without_any_tcp_option(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, _| {
        let mut peer = RawPeer::new(site, 4000, 80);
        let answer = peer.open(&[]);
        // A peer that offers nothing is offered nothing but the MSS.
        assert_eq!(answer.options, [2, 4, 0x05, 0xb4], "MSS 1460");
        peer.send(RawPeer::ACK, &[], &[]);
        peer.send(DATA, &[], &[header_of_client(), QUESTION.to_vec()].concat());
        expect_answer(&mut peer);
        close(&mut peer);
    });
}

fn the_first_segment_twice(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, _| {
        let mut peer = RawPeer::new(site, 4000, 80);
        peer.open(&[]);
        let start = peer.sequence;
        for _ in 0..2 {
            peer.sequence = start;
            peer.send(DATA, &[], &[header_of_client(), QUESTION.to_vec()].concat());
        }
        expect_answer(&mut peer);
        // What follows is echoed: the retransmission has not reached the program a second time.
        peer.send(DATA, &[], b"next");
        assert_eq!(peer.receive_payload(), b"next");
        close(&mut peer);
    });
}

/// A sender may merge segments when it sends them again (RFC 9293 §3.8.1).
fn the_header_sent_again_together_with_payload(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, _| {
        let mut peer = RawPeer::new(site, 4000, 80);
        peer.open(&[]);
        let start = peer.sequence;
        peer.send(DATA, &[], &header_of_client());
        peer.sequence = start;
        peer.send(DATA, &[], &[header_of_client(), QUESTION.to_vec()].concat());
        expect_answer(&mut peer);
        close(&mut peer);
    });
}

fn payload_that_overtakes_the_header_comes_again(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, _| {
        let mut peer = RawPeer::new(site, 4000, 80);
        peer.open(&[]);
        let start = peer.sequence;
        let header = header_of_client();
        let length = u32::try_from(header.len()).expect("a header is short");
        peer.sequence = start.wrapping_add(length);
        peer.send(DATA, &[], QUESTION);
        peer.sequence = start;
        peer.send(DATA, &[], &header);
        peer.send(DATA, &[], QUESTION);
        expect_answer(&mut peer);
        close(&mut peer);
    });
}

fn payload_of_a_syn_is_not_acknowledged_and_comes_again(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, _| {
        let mut peer = RawPeer::new(site, 4000, 80);
        let next = peer.sequence.wrapping_add(1);
        peer.send(RawPeer::SYN, &[], b"early");
        let answer = peer.receive(Duration::from_secs(5)).expect("an answer to the SYN");
        assert_eq!(answer.flags & 0x3f, RawPeer::SYN | RawPeer::ACK, "{answer:?}");
        assert_eq!(answer.acknowledgment, next, "only the SYN is acknowledged");
        peer.acknowledgment = answer.sequence.wrapping_add(1);
        peer.sequence = next;
        peer.send(DATA, &[], &[header_of_client(), QUESTION.to_vec()].concat());
        expect_answer(&mut peer);
        close(&mut peer);
    });
}

/// A cookie is too short to be believed on its own: whoever is not trusted when the header comes could have
/// guessed it.
#[test]
fn trust_is_asked_for_when_the_header_comes() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let mut peer = RawPeer::new(&site, 4000, 80);
    peer.open(&[]);
    agent.kill();
    agent.configure(&Guard::ports(&[80]).trusting("192.0.2.0/24"));
    agent.start_again();
    peer.send(DATA, &[], &[header_of_client(), QUESTION.to_vec()].concat());
    let answer = peer.receive(Duration::from_secs(5)).expect("a RST");
    assert_eq!(answer.flags & RawPeer::RST, RawPeer::RST, "{answer:?}");
    assert_eq!(agent.counter("handed_over"), 0);
    site.finish(&mut agent, &[]);
}

#[test]
fn a_made_up_cookie_is_refused() {
    with_echo(HandOff::Auto, &[], |site, agent| {
        let mut peer = RawPeer::new(site, 4000, 80);
        peer.open(&[]);
        peer.acknowledgment = peer.acknowledgment.wrapping_add(0x0101_0101);
        peer.send(DATA, &[], &[header_of_client(), QUESTION.to_vec()].concat());
        let answer = peer.receive(Duration::from_secs(5)).expect("a RST");
        assert_eq!(answer.flags & RawPeer::RST, RawPeer::RST, "{answer:?}");
        assert_eq!(agent.counter("cookie_foreign"), 1);
        assert_eq!(agent.counter("handed_over"), 0);
    });
}

/// Larger than any first segment of an ordinary Linux load balancer, which sends no more than half of
/// the window that the SYN-ACK offers.
fn a_header_with_60_kilobytes_in_one_packet(hand_off: HandOff) {
    let offloads = Offloads { checksums: true, segmentation: true, merging: false };
    let site = Site::with(&Plan { offloads, ..Plan::default() });
    let capture = Capture::start(&site.scratch, &site.net.server, "eth0", Directions::Both);
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let mut peer = RawPeer::new(&site, 4000, 80);
    peer.open(&[2, 4, 0x05, 0xb4]);
    let payload = pattern(60_000);
    let bytes = [&header_of_client(), QUESTION, &payload].concat();
    peer.send_frame(&site, Frame::Super(1460), DATA, &bytes);

    let answer = format!("{CLIENT} {CLIENT} \"who am I?\"\n");
    let mut received = Vec::new();
    while received.len() < answer.len() + payload.len() {
        received.extend(peer.receive_payload());
        peer.send(RawPeer::ACK, &[], &[]);
    }
    close(&mut peer);
    assert!(received.starts_with(answer.as_bytes()));
    assert_same(&received[answer.len()..], &payload);
    capture.stop();
    let whole = u32::try_from(bytes.len()).expect("a packet");
    let first = capture.count(|sent| sent.destination.port() == 80 && sent.length == whole);
    assert!(first >= 1, "the packet crossed the link in one piece");
    site.finish(&mut agent, &[]);
}

#[test]
fn a_syn_flood_leaves_no_trace() {
    const SYNS: u16 = 5000;
    with_echo(HandOff::Auto, &[], |site, agent| {
        let mut peer = RawPeer::new(site, 4000, 80);
        for _ in 0..SYNS {
            peer.send(RawPeer::SYN, &[], &[]);
        }
        agent.wait_counter("syn_answered", u64::from(SYNS));
        let half_open = site.net.server.run("ss -Htn state syn-recv");
        assert_eq!(half_open, "");
        // None of the SYN-ACKs is sent again: that is up to the peer, with its SYN. The kernel's own
        // would come after one second.
        std::thread::sleep(Duration::from_millis(2500));
        site.stop_captures();
        let answers = site.server_capture().count(|sent| sent.syn() && sent.ack());
        assert_eq!(answers, usize::from(SYNS));
    });
}
