//! A server that is also a router, as every Kubernetes node is.

use proxyip_tests::servers::{EchoServer, PeerNames};
use proxyip_tests::{Agent, Dial, Guard, HandOff, Namespace, Site, address, header};

use crate::common::{
    CLIENT, DESTINATION, ask_names, assert_both, auto_and_translate, header_of_client,
    open_and_send, socket_address,
};

auto_and_translate!(connections_that_are_only_forwarded_are_left_alone);

/// A connection that only passes through belongs to a machine behind the server. This machine may know the PROXY
/// protocol itself, so the connection is left alone. It makes no difference that a socket of the server listens on
/// the same port on all addresses.
fn connections_that_are_only_forwarded_are_left_alone(hand_off: HandOff) {
    let site = Site::without_captures();
    let server = &site.net.server;
    let pod = pod_behind(&site);
    let _echo = EchoServer::start(server, "0.0.0.0", 80);
    let _pod_echo = EchoServer::start(&pod, "0.0.0.0", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));

    let version_1 = header::v1(socket_address(CLIENT), socket_address(DESTINATION));
    let dial = Dial::to("10.99.0.2", 80).from(address::BALANCER, 0);
    let stream = open_and_send(&site, &dial, &version_1);
    let (names, line) = PeerNames::read(&stream);
    assert_both(names, stream.local_addr().expect("a bound socket"));
    assert!(line.starts_with("\"PROXY TCP4 "), "{line}");

    // The server's other address works as well as the address on the load balancer's link.
    for address in [address::SERVER, "10.99.0.1"] {
        let dial = Dial::to(address, 80).from(address::BALANCER, 0);
        let stream = open_and_send(&site, &dial, &header_of_client());
        assert_both(ask_names(&stream), socket_address(CLIENT));
    }
    assert_eq!(agent.counter("handed_over"), 2);
    site.finish(&mut agent, &[]);
}

/// What a listener says of strangers is not said of those who only pass through.
#[test]
fn strangers_that_are_only_forwarded_are_left_alone() {
    for untrusted in ["reset", "drop"] {
        let site = Site::without_captures();
        let pod = pod_behind(&site);
        let _pod_echo = EchoServer::start(&pod, "0.0.0.0", 80);
        let guard = Guard::ports(&[80]).setting(&format!("untrusted = \"{untrusted}\""));
        let mut agent = Agent::start(&site, &guard);
        let dial = Dial::to("10.99.0.2", 80).from(address::STRANGER, 0);
        let stream = dial.open(&site.net.balancer);
        assert_both(ask_names(&stream), stream.local_addr().expect("a bound socket"));
        site.finish(&mut agent, &[]);
    }
}

/// A machine behind the server, which forwards to it.
fn pod_behind(site: &Site) -> Namespace {
    let (balancer, server) = (&site.net.balancer, &site.net.server);
    let pod = Namespace::new(format!("{}-pod", site.scratch.name()));
    server.ip(&format!("link add eth1 type veth peer name eth0 netns {}", pod.name()));
    server.ip("link set eth1 up");
    server.ip("addr add 10.99.0.1/24 dev eth1");
    server.sysctl("ipv4.ip_forward", "1");
    pod.ip("link set eth0 up");
    pod.ip("addr add 10.99.0.2/24 dev eth0");
    pod.ip("route add default via 10.99.0.1");
    balancer.ip("route add 10.99.0.0/24 via 10.77.1.1");
    pod
}
