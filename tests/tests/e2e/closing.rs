//! The ends of connections: with the header, before it, and instead of it.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{
    Agent, CapturedSegment, Guard, HandOff, Site, address, read_rest, reset, turn,
};
use socket2::SockRef;

use crate::common::{
    CLIENT, ask_names, assert_both, auto_and_translate, expect_names, header_of_client,
    header_of_client6, socket_address, trusted_dial, trusted_dial6,
};

auto_and_translate!(
    header_payload_and_fin_in_one_segment,
    header_and_fin_in_one_segment,
    an_established_connection_that_is_reset_is_closed
);

/// Sends these bytes and the end of the stream in one segment.
fn send_with_fin(stream: &TcpStream, bytes: &[u8]) {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(false).expect("TCP_NODELAY");
    // Held back until more comes; what comes is the FIN.
    socket.send_with_flags(bytes, libc::MSG_MORE).expect("cannot send");
    stream.shutdown(Shutdown::Write).expect("the end of the stream");
}

fn header_payload_and_fin_in_one_segment(hand_off: HandOff) {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let stream = trusted_dial(80).open(&site.net.balancer);
    send_with_fin(&stream, &[header_of_client(), b"who am I?\n".to_vec()].concat());
    assert_both(expect_names(&stream), socket_address(CLIENT));
    assert_eq!(read_rest(&stream), b"");
    let peer = stream.local_addr().unwrap().to_string();
    assert_eq!(agent.wait_event("close", &peer)["bytes_received"], 10);

    site.stop_captures();
    let with_fin = site.balancer_capture().count(|sent| sent.length == 38 && sent.fin());
    assert_eq!(with_fin, 1, "one segment of 28 + 10 bytes with FIN");
    site.finish(&mut agent, &[]);
}

fn header_and_fin_in_one_segment(hand_off: HandOff) {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
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
    site.stop_captures();
    let is_counted =
        |sent: &CapturedSegment| sent.destination.port() == 80 && sent.length > 0 && sent.fin();
    let with_fin = site.balancer_capture().count(is_counted);
    assert_eq!(with_fin, 2, "segments with header and FIN");
    site.finish(&mut agent, &[]);
}

fn an_established_connection_that_is_reset_is_closed(hand_off: HandOff) {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let mut stream = trusted_dial(80).open(&site.net.balancer);
    stream.write_all(&header_of_client()).expect("cannot send");
    assert_both(ask_names(&stream), socket_address(CLIENT));
    let peer = stream.local_addr().unwrap().to_string();
    reset(stream);
    let close = agent.wait_event("close", &peer);
    assert_eq!(close["client"], CLIENT);
    assert_eq!(close["bytes_received"], "who am I?\n".len());
    assert_eq!(agent.flows(), []);
    site.finish(&mut agent, &[]);
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
