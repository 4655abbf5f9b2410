//! Segments that no ordinary load balancer sends, or not on demand.

use std::time::Duration;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{
    Agent, Capture, Directions, Frame, Guard, HandOff, Offloads, Plan, RawPeer, Site, address,
};

use crate::common::{CLIENT, assert_same, auto_and_translate, header_of_client, pattern};

auto_and_translate!(a_header_with_60_kilobytes_in_one_packet);

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
