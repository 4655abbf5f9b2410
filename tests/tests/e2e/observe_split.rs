//! The observe hand-off and headers in several segments. The application gets each part as it comes. The connection
//! ends if the whole header is bad.

use proxyip_tests::servers::{EchoServer, PeerNames};
use proxyip_tests::{Agent, Guard, HandOff, Site, is_reset};

use crate::common::{CLIENT, assert_echoed, trusted_dial, trusted_dial6, version_1};
use crate::split::send_parts;

fn observe() -> Guard {
    Guard::ports(&[80]).hand_off(HandOff::Observe)
}

#[test]
fn a_header_that_comes_byte_by_byte_is_read() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &observe());
    let header = version_1();
    let bytes: Vec<_> = header.iter().map(std::slice::from_ref).collect();
    for dial in [trusted_dial(80), trusted_dial6(80)] {
        let stream = dial.open(&site.net.balancer);
        send_parts(&stream, &bytes);
        let (_, line) = PeerNames::read(&stream);
        assert!(line.starts_with("\"PROXY TCP4 "), "{line}");
        let peer = stream.local_addr().expect("a bound socket").to_string();
        let event = agent.wait_event("accept", &peer);
        assert_eq!((&event["client"], &event["hand_off"]), (&CLIENT.into(), &"observe".into()));
        assert_echoed(&stream, b"what follows is echoed");
    }
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
