//! Frames that the kernel's own IP and TCP would not take as they are.

use std::time::Duration;

use proxyip_tests::{Frame, HandOff, RawPeer};

use crate::common::header_of_client;
use crate::raw::{DATA, QUESTION, close, expect_answer, with_echo};

/// The handshake's bare ACK with bytes behind the IP packet is still a bare ACK.
#[test]
fn padding_of_a_frame_is_no_payload() {
    with_echo(HandOff::Translate, &[], |site, agent| {
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
