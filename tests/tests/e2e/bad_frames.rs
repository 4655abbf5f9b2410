//! Frames that the kernel's own IP and TCP would not take as they are.

use std::time::Duration;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Frame, Guard, HandOff, RawPeer, Site, address};

use crate::common::{auto_and_translate, header_of_client};
use crate::raw::{DATA, QUESTION, close, expect_answer, with_echo};

auto_and_translate!(a_damaged_header_is_not_believed, padding_of_a_frame_is_no_payload);

/// Offset of the client's address in a version 2 header.
const CLIENT_ADDRESS: usize = 16;

/// A header damaged on the way names another client: it has to be dropped like any segment with a wrong
/// checksum, and to be believed when it comes again undamaged.
fn a_damaged_header_is_not_believed(hand_off: HandOff) {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let mut peer = RawPeer::new(&site, 4000, 80);
    peer.open(&[]);
    let start = peer.sequence;
    let first = [header_of_client(), QUESTION.to_vec()].concat();
    peer.send_damaged(DATA, &first, CLIENT_ADDRESS + 3);
    assert_eq!(peer.receive(Duration::from_millis(300)), None, "an answer to a damaged segment");
    assert_eq!(agent.counter("established"), 0);
    peer.sequence = start;
    peer.send(DATA, &[], &first);
    expect_answer(&mut peer);
    close(&mut peer);
    let drops = agent.numbers("drops");
    let drops: Vec<_> = drops.iter().map(|(label, count)| (label.as_str(), *count)).collect();
    agent.assert_healthy(&drops);
}

/// The handshake's bare ACK with bytes behind the IP packet is still a bare ACK.
fn padding_of_a_frame_is_no_payload(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, agent| {
        let mut peer = RawPeer::new(site, 4000, 80);
        peer.open(&[]);
        peer.send_frame(site, Frame::Padded, RawPeer::ACK, &[]);
        agent.wait_counter("ack_deferred", 1);
        peer.send_frame(site, Frame::Padded, DATA, &header_of_client());
        peer.send_frame(site, Frame::Padded, DATA, QUESTION);
        expect_answer(&mut peer);
        close(&mut peer);
    });
}

#[test]
fn frames_for_another_machine_are_not_answered() {
    with_echo(HandOff::Auto, &[], |site, agent| {
        let mut peer = RawPeer::new(site, 4000, 80);
        peer.send_frame(site, Frame::ForAnotherMachine, RawPeer::SYN, &[]);
        assert_eq!(peer.receive(Duration::from_millis(300)), None);
        assert_eq!(agent.counter("syn_answered"), 0);
    });
}
