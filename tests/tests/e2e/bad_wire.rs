//! Much payload over a wire that loses, doubles and reorders segments in both directions.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{
    Acknowledgments, Agent, Capture, Dial, Faults, Guard, HandOff, Namespace, Plan, Site, turn,
};

use crate::common::{
    ask_names, assert_same, header_of_client, open_and_send, pattern, trusted_dial, trusted_dial6,
};

/// The payload is sent in pieces of this many bytes, each with different content.
const PIECE: usize = 1 << 20;
/// Longer than any of TCP's timeouts after a few losses in a row.
const STALL: Duration = Duration::from_secs(20);

#[test]
fn a_gibibyte_there_and_back_translated() {
    let _alone = turn::alone();
    let plan = Plan { mtu: 9001, faults: Some(Faults { seed: 0x5eed }), ..Plan::default() };
    let site = Site::without_captures_with(&plan);
    let capture = Capture::headers(&site.scratch, &site.net.balancer, "eth1");
    let (_echo, mut agent) = start(&site, HandOff::Translate);
    let port = there_and_back(&site, &trusted_dial(80), 1024);
    capture.stop();
    assert_acknowledged(&capture, port);
    assert_wire_was_bad(&site.net.balancer);
    assert_wire_was_bad(&site.net.server);
    agent.assert_healthy(&[]);
    site.assert_clean();
}

/// Less payload, so that every checksum in the captures can be looked at.
#[test]
fn mebibytes_there_and_back_translated() {
    captured_there_and_back(HandOff::Translate);
}

#[test]
fn mebibytes_there_and_back_to_an_mptcp_listener() {
    captured_there_and_back(HandOff::Multipath);
}

fn captured_there_and_back(hand_off: HandOff) {
    let plan = Plan { faults: Some(Faults { seed: 0xcab1e }), ..Plan::default() };
    for dial in [trusted_dial(80), trusted_dial6(80)] {
        let site = Site::with(&plan);
        let (_echo, mut agent) = start(&site, hand_off);
        let port = there_and_back(&site, &dial, 8);
        site.stop_captures();
        assert_acknowledged(site.balancer_capture(), port);
        site.finish(&mut agent, &[]);
    }
}

fn start(site: &Site, hand_off: HandOff) -> (EchoServer, Agent<'_>) {
    let multipath = hand_off == HandOff::Multipath;
    let listen = if multipath { EchoServer::multipath } else { EchoServer::start };
    let echo = listen(&site.net.server, "::", 80);
    (echo, Agent::start(site, &Guard::ports(&[80]).hand_off(hand_off)))
}

/// Sends this many mebibytes to the echo server and asserts that exactly these come back. Returns the load balancer's
/// port.
fn there_and_back(site: &Site, dial: &Dial, mebibytes: usize) -> u16 {
    let stream = open_and_send(site, dial, &header_of_client());
    stream.set_read_timeout(Some(STALL)).expect("SO_RCVTIMEO");
    stream.set_write_timeout(Some(STALL)).expect("SO_SNDTIMEO");
    ask_names(&stream);
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| send(&stream, mebibytes));
        receive(&stream, mebibytes);
    });
    let (took, port) = (start.elapsed(), stream.local_addr().expect("a bound socket").port());
    eprintln!("{mebibytes} MiB there and back in {took:.1?}");
    port
}

fn send(mut stream: &TcpStream, mebibytes: usize) {
    let mut piece = pattern(PIECE);
    for number in 0..mebibytes {
        piece[..8].copy_from_slice(&number.to_le_bytes());
        stream.write_all(&piece).expect("no stall");
    }
    stream.shutdown(std::net::Shutdown::Write).expect("the end of the stream");
}

fn receive(mut stream: &TcpStream, mebibytes: usize) {
    let mut expected = pattern(PIECE);
    let mut piece = vec![0; PIECE];
    for number in 0..mebibytes {
        expected[..8].copy_from_slice(&number.to_le_bytes());
        stream.read_exact(&mut piece).expect("no stall");
        // Slices of bytes are compared much faster than bytes one by one.
        if piece != expected {
            assert_same(&piece, &expected);
        }
    }
    assert_eq!(stream.read(&mut piece).expect("the end of the stream"), 0);
}

/// Asserts that both ends acknowledged what the other had sent, and nothing else.
fn assert_acknowledged(capture: &Capture, port: u16) {
    for (sender, receiver) in [(port, 80), (80, port)] {
        let seen = Acknowledgments::read(capture.file(), sender, receiver);
        let Acknowledgments { acknowledged, segments, blocks, duplicates, .. } = seen;
        eprintln!(
            "port {receiver} acknowledged {acknowledged} with {segments} segments, {blocks} SACK \
             blocks, {duplicates} of them duplicates"
        );
        assert!(seen.errors.is_empty(), "port {receiver}: {:#?}", seen.errors);
        assert!(blocks > duplicates && duplicates > 0, "losses and duplicates were reported");
    }
}

/// Asserts that this end had to do with losses, duplicates and segments out of order.
fn assert_wire_was_bad(end: &Namespace) {
    assert!(end.statistic("Tcp", "RetransSegs") > 1000);
    for counter in ["TCPOFOQueue", "TCPDSACKOldSent", "TCPSACKReorder"] {
        assert!(end.statistic("TcpExt", counter) > 100, "{counter}");
    }
}
