//! Answers without a socket: where they go, and what a peer hears of a connection that has ended.

use std::time::Duration;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{
    Agent, Guard, HandOff, RawPeer, Site, address, claimed_syn_is_answered_to_the_owner,
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::common::{
    CLIENT, ask_names, assert_both, auto_and_translate, header_of_client, on_ipv6_socket,
    open_and_send, socket_address, trusted_dial, trusted_dial6,
};
use crate::raw::{DATA, QUESTION, close, expect_answer, with_echo};

auto_and_translate!(
    a_segment_of_a_connection_that_has_ended_is_reset,
    both_ends_use_ecn_if_the_load_balancer_offers_it
);

/// How long an answer may take.
const SOON: Duration = Duration::from_secs(1);

fn a_segment_of_a_connection_that_has_ended_is_reset(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, agent| {
        let mut peer = RawPeer::new(site, 4000, 80);
        peer.open(&[2, 4, 0x05, 0xb4]);
        let (first, cookie) = (peer.sequence, peer.acknowledgment);
        let bytes = [&header_of_client(), QUESTION].concat();
        peer.send(DATA, &[], &bytes);
        expect_answer(&mut peer);
        close(&mut peer);
        while peer.receive(SOON).is_some_and(|segment| segment.flags & RawPeer::FIN == 0) {}
        peer.acknowledgment = peer.acknowledgment.wrapping_add(1);
        peer.send(RawPeer::ACK, &[], &[]);
        agent.wait_counter("closed", 1);
        let (end, all) = (peer.sequence, peer.acknowledgment);
        // Behind the end, with all acknowledged; a probe; the first segment once more, as the network may have kept one.
        for (sequence, acknowledgment, payload) in [
            (end, all, &b"more"[..]),
            (end.wrapping_sub(1), all, b""),
            (end, cookie, b"more"),
            (first, cookie, &bytes),
        ] {
            (peer.sequence, peer.acknowledgment) = (sequence, acknowledgment);
            peer.send(DATA, &[], payload);
            let answer = peer.receive(SOON).expect("a RST");
            assert_eq!((answer.flags, answer.sequence), (RawPeer::RST, acknowledgment));
        }
        assert_eq!(agent.counter("handed_over"), 1);
    });
}

/// A machine on the link says that it has the load balancer's address. The cookie is no secret to who sees the answer.
#[test]
fn a_syn_ack_goes_to_the_machine_that_has_the_address() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    for (source, target) in
        [(address::BALANCER, address::SERVER), (address::BALANCER6, address::SERVER6)]
    {
        // The neighbour is not known at first.
        site.net.server.ip("neigh flush dev eth0");
        let end = |address: &str, port: u16| {
            let address = address.parse().expect("an address");
            std::net::SocketAddr::new(address, port)
        };
        let answered =
            claimed_syn_is_answered_to_the_owner(&site, end(source, 5000), end(target, 80));
        assert!(answered, "{source}");
    }
    agent.wait_counter("syn_answered", 2);
    site.finish(&mut agent, &[]);
}

/// As the kernel's own would: the load balancer's checks have to fail while the application does not accept.
#[test]
fn a_syn_ack_is_what_the_application_allows() {
    let site = Site::new();
    let listener = site.net.server.enter(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_tcp_mss(1200)?;
        socket.bind(&SockAddr::from(socket_address("10.77.1.1:80")))?;
        socket.listen(0)?;
        Ok::<_, std::io::Error>(socket)
    });
    let listener = listener.expect("cannot listen");
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let mut peer = RawPeer::new(&site, 4000, 80);
    let answer = peer.open(&[2, 4, 0x05, 0xb4]);
    assert_eq!(answer.options[..4], [2, 4, 0x04, 0xb0], "an MSS of 1200");
    peer.send(DATA, &[], &[&header_of_client(), QUESTION].concat());
    agent.wait_counter("established", 1);
    let mut second = RawPeer::new(&site, 4001, 80);
    second.send(RawPeer::SYN, &[], &[]);
    assert_eq!(second.receive(Duration::from_millis(300)), None, "the accept queue is full");
    listener.accept().expect("a connection");
    second.sequence = RawPeer::INITIAL;
    second.open(&[]);
    site.finish(&mut agent, &[("accept_queue_full", 1)]);
}

/// As the kernel alone would: marks of routers then slow a connection down before anything is lost.
fn both_ends_use_ecn_if_the_load_balancer_offers_it(hand_off: HandOff) {
    let site = Site::without_captures();
    site.net.balancer.sysctl("ipv4.tcp_ecn", "1");
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    for dial in [trusted_dial(80), trusted_dial6(80)] {
        let stream = open_and_send(&site, &dial, &header_of_client());
        assert_both(ask_names(&stream), on_ipv6_socket(CLIENT));
        for end in [&site.net.balancer, &site.net.server] {
            let sockets = end.run("ss -tionH state established");
            assert!(sockets.contains(" ecn "), "{}: {sockets}", end.name());
        }
    }
    site.finish(&mut agent, &[]);
}
