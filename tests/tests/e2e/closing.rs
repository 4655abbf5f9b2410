//! The ends of connections: with the header, before it, and instead of it.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, CapturedSegment, Guard, HandOff, Site, read_rest, reset, turn};
use socket2::SockRef;

use crate::common::{
    CLIENT, ask_names, assert_both, auto_and_translate, expect_names, header_of_client,
    header_of_client6, on_ipv6_socket, trusted_dial, trusted_dial6,
};

auto_and_translate!(ends_are_counted_from_behind_the_header);

const QUESTION: &[u8] = b"who am I?\n";

/// Sends these bytes and the end of the stream in one segment.
fn send_with_fin(stream: &TcpStream, bytes: &[u8]) {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(false).expect("TCP_NODELAY");
    // Held back until more comes; what comes is the FIN.
    socket.send_with_flags(bytes, libc::MSG_MORE).expect("cannot send");
    stream.shutdown(Shutdown::Write).expect("the end of the stream");
}

/// With the header and payload, with the header alone, and by a RST: one agent sees them all.
fn ends_are_counted_from_behind_the_header(hand_off: HandOff) {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    header_payload_and_fin_in_one_segment(&site, &agent);
    header_and_fin_in_one_segment(&site, &agent);
    an_established_connection_that_is_reset_is_closed(&site, &agent);
    site.stop_captures();
    let with_fin = |length: usize| {
        let is_one = |sent: &CapturedSegment| {
            let length_is_right = usize::try_from(sent.length).is_ok_and(|sent| sent == length);
            sent.destination.port() == 80 && length_is_right && sent.fin()
        };
        site.balancer_capture().count(is_one)
    };
    let (header, header6) = (header_of_client().len(), header_of_client6().len());
    let counts = [header + QUESTION.len(), header, header6].map(with_fin);
    assert_eq!(
        counts, [1; 3],
        "segments with FIN: header and question, header over IPv4, over IPv6"
    );
    site.finish(&mut agent, &[]);
}

fn header_payload_and_fin_in_one_segment(site: &Site, agent: &Agent) {
    let stream = trusted_dial(80).open(&site.net.balancer);
    send_with_fin(&stream, &[&header_of_client(), QUESTION].concat());
    assert_both(expect_names(&stream), on_ipv6_socket(CLIENT));
    assert_eq!(read_rest(&stream), b"");
    let peer = stream.local_addr().unwrap().to_string();
    assert_eq!(agent.wait_event("close", &peer)["bytes_received"], QUESTION.len());
}

fn header_and_fin_in_one_segment(site: &Site, agent: &Agent) {
    for (dial, header) in
        [(trusted_dial(80), header_of_client()), (trusted_dial6(80), header_of_client6())]
    {
        let stream = dial.open(&site.net.balancer);
        send_with_fin(&stream, &header);
        // The server sees a connection that ends at once, and ends its side.
        assert_eq!(read_rest(&stream), b"");
        let peer = stream.local_addr().unwrap().to_string();
        assert_eq!(agent.wait_event("close", &peer)["bytes_received"], 0);
    }
}

fn an_established_connection_that_is_reset_is_closed(site: &Site, agent: &Agent) {
    let mut stream = trusted_dial(80).open(&site.net.balancer);
    stream.write_all(&header_of_client()).expect("cannot send");
    assert_both(ask_names(&stream), on_ipv6_socket(CLIENT));
    let peer = stream.local_addr().unwrap().to_string();
    reset(stream);
    let close = agent.wait_event("close", &peer);
    assert_eq!(close["client"], CLIENT);
    assert_eq!(close["bytes_received"], QUESTION.len());
    assert_eq!(agent.flows(), []);
}

#[test]
fn a_guarded_port_without_a_listener_refuses() {
    let _alone = turn::alone();
    let site = Site::new();
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    for dial in [trusted_dial(80), trusted_dial6(80)] {
        let start = Instant::now();
        let error = dial.attempt(&site.net.balancer).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    }
    site.finish(&mut agent, &[]);
}
