//! Segments lost on the way; each is sent again by the kernel that sent it.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Dial, Guard, HandOff, Namespace, Site, address, eventually};

use crate::common::{
    CLIENT, ask_names, assert_both, assert_echoed, auto_and_translate, expect_names,
    header_of_client, pattern, socket_address,
};

auto_and_translate!(the_acknowledgments_of_the_first_segment_are_lost, random_loss_of_the_payload);

const QUESTION: &[u8] = b"who am I?\n";
/// The first packet that matches is lost, later ones are not.
const ONCE: &str = "-m statistic --mode nth --every 1000000 --packet 0 -j DROP";

/// A load balancer (in the client's namespace) and a server that trusts it, with a router between them
/// that loses packets.
struct LossyPath<'a> {
    balancer: &'a Namespace,
    router: &'a Namespace,
    server: &'a Namespace,
}

impl LossyPath<'_> {
    fn open(&self) -> TcpStream {
        Dial::to(address::SERVER, 80).from(address::CLIENT, 0).open(self.balancer)
    }

    /// The router forwards no packet that matches.
    fn lose(&self, packets: &str) {
        self.router.run(&format!("iptables -A FORWARD -p tcp {packets}"));
    }

    fn sent_again(&self) -> u64 {
        self.balancer.statistic("Tcp", "RetransSegs")
    }
}

fn with_echo(hand_off: HandOff, test: impl FnOnce(&LossyPath)) {
    let site = Site::new();
    let path = LossyPath {
        balancer: &site.net.client,
        router: &site.net.balancer,
        server: &site.net.server,
    };
    path.router.sysctl("ipv4.ip_forward", "1");
    path.balancer.ip("route add 10.77.1.0/24 via 203.0.113.1");
    path.server.ip("route add 203.0.113.0/24 via 10.77.1.2");
    let _echo = EchoServer::start(path.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]).hand_off(hand_off).trusting("203.0.113.9/32");
    let mut agent = Agent::start(&site, &guard);
    test(&path);
    site.finish(&mut agent, &[]);
}

fn send(mut stream: &TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("cannot send");
}

#[test]
fn the_syn_ack_is_lost() {
    with_echo(HandOff::Translate, |path| {
        path.lose(&format!("-i eth1 --tcp-flags SYN,ACK SYN,ACK {ONCE}"));
        let start = Instant::now();
        let stream = path.open();
        assert!(start.elapsed() > Duration::from_millis(900), "the SYN was sent again after 1 s");
        send(&stream, &header_of_client());
        assert_both(ask_names(&stream), socket_address(CLIENT));
        assert_echoed(&stream, &pattern(100_000));
    });
}

#[test]
fn the_first_segment_is_lost() {
    with_echo(HandOff::Translate, |path| {
        path.lose(&format!("-o eth1 --tcp-flags PSH PSH {ONCE}"));
        let stream = path.open();
        send(&stream, &[header_of_client(), QUESTION.to_vec()].concat());
        assert_both(expect_names(&stream), socket_address(CLIENT));
        assert_eq!(path.sent_again(), 1);
        assert_echoed(&stream, &pattern(100_000));
    });
}

/// The header is lost, and the payload behind it overtakes the header sent again.
#[test]
fn the_header_alone_is_lost() {
    with_echo(HandOff::Translate, |path| {
        path.lose(&format!("-o eth1 --tcp-flags PSH PSH {ONCE}"));
        let stream = path.open();
        send(&stream, &header_of_client());
        send(&stream, QUESTION);
        assert_both(expect_names(&stream), socket_address(CLIENT));
        assert!(path.sent_again() >= 1);
        assert_echoed(&stream, &pattern(100_000));
    });
}

/// The header arrives and its acknowledgment does not: the same bytes come again, to a socket that
/// already exists.
fn the_acknowledgments_of_the_first_segment_are_lost(hand_off: HandOff) {
    with_echo(hand_off, |path| {
        let stream = path.open();
        path.lose("-i eth1 -j DROP");
        send(&stream, &[header_of_client(), QUESTION.to_vec()].concat());
        eventually("two retransmissions", || (path.sent_again() >= 2).then_some(()));
        path.router.run("iptables -F FORWARD");
        assert_both(expect_names(&stream), socket_address(CLIENT));
        assert_echoed(&stream, &pattern(100_000));
    });
}

/// One segment in fifty, in both directions, while a megabyte goes there and back.
fn random_loss_of_the_payload(hand_off: HandOff) {
    with_echo(hand_off, |path| {
        let stream = path.open();
        send(&stream, &header_of_client());
        assert_both(ask_names(&stream), socket_address(CLIENT));
        // Every packet on its own: the router would lose 64 KB at once otherwise.
        for (namespace, interface) in [(path.balancer, "eth0"), (path.router, "eth0")] {
            namespace.run(&format!("ethtool -K {interface} tx off"));
        }
        path.lose("-m statistic --mode random --probability 0.02 -j DROP");
        assert_echoed(&stream, &pattern(1_000_000));
        let sent_again =
            [path.balancer, path.server].map(|end| end.statistic("Tcp", "RetransSegs"));
        eprintln!("segments sent again by load balancer and server: {sent_again:?}");
        assert!(sent_again.iter().all(|segments| *segments > 0));
    });
}
