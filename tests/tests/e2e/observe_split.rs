//! The observe hand-off and headers that come in several segments: the application gets each part as it comes, and the
//! connection ends if the whole is bad.

use proxyip_tests::servers::{EchoServer, PeerNames};
use proxyip_tests::{Agent, Dial, Guard, HandOff, RawPeer, Site, address, header, is_reset};

use crate::common::{
    CLIENT, DESTINATION, assert_echoed, socket_address, trusted_dial, trusted_dial6,
};
use crate::raw::DATA;
use crate::split::send_parts;

fn observe() -> Guard {
    Guard::ports(&[80]).hand_off(HandOff::Observe)
}

fn v1() -> Vec<u8> {
    header::v1(socket_address(CLIENT), socket_address(DESTINATION))
}

/// Asserts that the flow of this dial, whose header comes in `parts`, is known with its client.
fn assert_observed(site: &Site, agent: &Agent, dial: &Dial, parts: &[&[u8]]) {
    let stream = dial.open(&site.net.balancer);
    send_parts(&stream, parts);
    let (_, line) = PeerNames::read(&stream);
    assert!(line.starts_with("\"PROXY TCP4 "), "{line}");
    let peer = stream.local_addr().expect("a bound socket").to_string();
    let event = agent.wait_event("accept", &peer);
    assert_eq!((&event["client"], &event["hand_off"]), (&CLIENT.into(), &"observe".into()));
    assert_echoed(&stream, b"what follows is echoed");
}

#[test]
fn split_at_every_byte_and_byte_by_byte() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &observe());
    let header = v1();
    for at in 1..header.len() {
        let (first, second) = header.split_at(at);
        let dial = if at % 2 == 0 { trusted_dial(80) } else { trusted_dial6(80) };
        assert_observed(&site, &agent, &dial, &[first, second]);
    }
    let bytes: Vec<_> = header.iter().map(std::slice::from_ref).collect();
    assert_observed(&site, &agent, &trusted_dial(80), &bytes);
    site.assert_swift();
    site.finish(&mut agent, &[]);
}

#[test]
fn a_bad_end_resets_both() {
    let site = Site::new();
    let server = site.net.server.enter(|| std::net::TcpListener::bind("0.0.0.0:80"));
    let server = server.expect("a listener");
    let mut agent = Agent::start(&site, &observe());
    let stream = trusted_dial(80).open(&site.net.balancer);
    send_parts(&stream, &[b"PROXY TCP4 198.51.100.7 ", b"192.0.2.1 51234 443\n"]);
    let (accepted, _) = server.accept().expect("a connection");
    assert!(is_reset(&stream));
    let mut read = Vec::new();
    let outcome = std::io::Read::read_to_end(&mut &accepted, &mut read);
    let error = outcome.expect_err("the connection ends").kind();
    assert_eq!(error, std::io::ErrorKind::ConnectionReset);
    assert!(read.len() <= 24, "only the first part may have been read: {read:?}");
    site.finish(&mut agent, &[("v1_line_end", 1)]);
}

#[test]
fn a_header_that_does_not_go_on_is_reset_at_both_ends() {
    let site = Site::new();
    let server = site.net.server.enter(|| std::net::TcpListener::bind("0.0.0.0:80"));
    let server = server.expect("a listener");
    let mut agent = Agent::start(&site, &observe().setting("header_timeout = 1"));
    let stream = trusted_dial(80).open(&site.net.balancer);
    send_parts(&stream, &[b"PROXY TCP4 198.51.100.7 "]);
    let (accepted, _) = server.accept().expect("a connection");
    assert!(is_reset(&stream));
    let outcome = std::io::Read::read_to_end(&mut &accepted, &mut Vec::new());
    outcome.expect_err("the connection ends");
    site.finish(&mut agent, &[("header_timeout", 1)]);
}

/// Else the application would read it before it was judged.
#[test]
fn a_part_that_overtakes_another_waits_for_it() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &observe());
    let bytes = [v1(), b"more\n".to_vec()].concat();
    let mut peer = RawPeer::new(&site, 4000, 80);
    peer.open(&[]);
    peer.send(RawPeer::ACK, &[], &[]);
    let start = peer.sequence;
    let mut send = |from: usize, to: usize| {
        peer.sequence = start.wrapping_add(u32::try_from(from).expect("a small number"));
        peer.send(DATA, &[], &bytes[from..to]);
    };
    for overtaking in 1..=2 {
        send(20, bytes.len());
        agent.wait_counter("out_of_order", overtaking);
        if overtaking == 1 {
            send(0, 10);
        }
    }
    send(10, 20);
    assert_eq!(agent.counter("established"), 0);
    send(20, bytes.len());
    let answer = String::from_utf8(peer.receive_payload()).expect("text");
    assert!(answer.contains("PROXY TCP4 "), "{answer}");
    assert_eq!(agent.wait_event("accept", "10.77.1.2:4000")["client"], CLIENT);
    peer.send(RawPeer::RST, &[], &[]);
    site.finish(&mut agent, &[]);
}
