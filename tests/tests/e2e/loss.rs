//! Segments lost on the way; each is sent again by the load balancer's kernel.

use std::io::Write;
use std::time::{Duration, Instant};

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, Site, address, eventually};

use crate::common::{
    CLIENT, ask_names, assert_both, assert_echoed, expect_names, header_of_client, open_and_send,
    pattern, socket_address, trusted_dial,
};

const QUESTION: &[u8] = b"who am I?\n";

/// The first packet that matches is lost, later ones are not.
const ONCE: &str = "-m statistic --mode nth --every 1000000 --packet 0 -j DROP";

fn with_echo(test: impl FnOnce(&Site)) {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    test(&site);
    site.finish(&mut agent, &[]);
}

#[test]
fn the_syn_ack_is_lost() {
    with_echo(|site| {
        let balancer = &site.net.balancer;
        balancer.run(&format!("iptables -A INPUT -p tcp --tcp-flags SYN,ACK SYN,ACK {ONCE}"));
        let start = Instant::now();
        let stream = open_and_send(site, &trusted_dial(80), &header_of_client());
        assert!(start.elapsed() > Duration::from_millis(900), "the SYN was sent again after 1 s");
        assert_both(ask_names(&stream), socket_address(CLIENT));
        assert_echoed(&stream, &pattern(100_000));
    });
}

#[test]
fn the_first_segment_is_lost() {
    with_echo(|site| {
        let balancer = &site.net.balancer;
        balancer.run(&format!("iptables -A OUTPUT -p tcp --dport 80 --tcp-flags PSH PSH {ONCE}"));
        let first = [header_of_client(), QUESTION.to_vec()].concat();
        let stream = open_and_send(site, &trusted_dial(80), &first);
        assert_both(expect_names(&stream), socket_address(CLIENT));
        assert_eq!(balancer.statistic("Tcp", "RetransSegs"), 1);
        assert_echoed(&stream, &pattern(100_000));
    });
}

/// The header is lost and the payload behind it is not.
#[test]
fn the_header_alone_is_lost() {
    with_echo(|site| {
        let balancer = &site.net.balancer;
        balancer.run(&format!("iptables -A OUTPUT -p tcp --dport 80 --tcp-flags PSH PSH {ONCE}"));
        let mut stream = open_and_send(site, &trusted_dial(80), &header_of_client());
        stream.write_all(QUESTION).expect("cannot send");
        assert_both(expect_names(&stream), socket_address(CLIENT));
        assert!(balancer.statistic("Tcp", "RetransSegs") >= 1);
        assert_echoed(&stream, &pattern(100_000));
    });
}

/// The header arrives and its acknowledgment does not: the same bytes come again, to a socket that
/// already exists.
#[test]
fn the_acknowledgments_of_the_first_segment_are_lost() {
    with_echo(|site| {
        let balancer = &site.net.balancer;
        let stream = trusted_dial(80).open(balancer);
        balancer.run("iptables -A INPUT -p tcp --sport 80 -j DROP");
        let first = [header_of_client(), QUESTION.to_vec()].concat();
        (&stream).write_all(&first).expect("cannot send");
        eventually("two retransmissions", || {
            (balancer.statistic("Tcp", "RetransSegs") >= 2).then_some(())
        });
        balancer.run("iptables -D INPUT -p tcp --sport 80 -j DROP");
        assert_both(expect_names(&stream), socket_address(CLIENT));
        assert_echoed(&stream, &pattern(100_000));
    });
}

/// One segment in fifty, on its arrival at either end, while a megabyte goes there and back.
#[test]
fn random_loss_of_the_payload() {
    with_echo(|site| {
        let (balancer, server) = (&site.net.balancer, &site.net.server);
        let stream = open_and_send(site, &trusted_dial(80), &header_of_client());
        assert_both(ask_names(&stream), socket_address(CLIENT));
        for end in [balancer, server] {
            end.run(
                "iptables -A INPUT -p tcp -m statistic --mode random --probability 0.02 -j DROP",
            );
        }
        assert_echoed(&stream, &pattern(1_000_000));
        let sent_again = [balancer, server].map(|end| end.statistic("Tcp", "RetransSegs"));
        eprintln!("segments sent again by load balancer and server: {sent_again:?}");
        assert!(sent_again.iter().all(|segments| *segments > 0));
    });
}
