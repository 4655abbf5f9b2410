//! Connections that the accept hand-off cannot serve, where the configuration allows nothing else. They are left to
//! the kernel with the header in place, counted and logged, and never half-broken.

use std::net::SocketAddr;

use proxyip_tests::servers::{EchoServer, PeerNames, RubyEcho};
use proxyip_tests::{Agent, Dial, Guard, HandOff, Site, address, eventually, read_line};

use crate::common::{assert_both, open_and_send, trusted_dial, version_1};

/// The line of a version 1 header as the program then reads it.
const HEADER_LINE: &str = r#""PROXY TCP4 198.51.100.7 192.0.2.1 51234 443\r""#;

fn accept(port: u16) -> Guard {
    Guard::ports(&[port]).hand_off(HandOff::Accept)
}

/// Asserts that the connection was left alone, and why.
fn assert_left(agent: &Agent, own: SocketAddr, reason: &str) {
    assert_eq!(agent.numbers("left_to_kernel"), [(reason.to_owned(), 1)].into());
    assert_eq!(agent.counter("handed_over"), 0);
    let event = agent.wait_event("left_to_kernel", &own.to_string());
    assert_eq!(event["reason"], reason);
}

/// An echo server and a connection that is left to the kernel for `reason`.
fn left_to_kernel(site: &Site, reason: &str) {
    let mut agent = Agent::start(site, &accept(80));
    assert_eq!(agent.new_hand_off(), "accept");
    let stream = open_and_send(site, &trusted_dial(80), &version_1());
    let own = stream.local_addr().expect("a bound socket");
    let (names, line) = PeerNames::read(&stream);
    assert_both(names, own);
    assert_eq!(line, HEADER_LINE);
    assert_left(&agent, own, reason);
    site.finish(&mut agent, &[]);
}

#[test]
fn an_mptcp_listener() {
    let site = Site::new();
    let _echo = EchoServer::multipath(&site.net.server, address::SERVER, 80);
    left_to_kernel(&site, "mptcp");
}

#[test]
fn syn_cookies_switched_off() {
    let site = Site::new();
    site.net.server.sysctl("ipv4.tcp_syncookies", "0");
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    left_to_kernel(&site, "syncookies_off");
}

/// The server closed first, and the load balancer uses the same source port again within a minute.
#[test]
fn a_connection_in_time_wait() {
    let site = Site::new();
    let _ruby = RubyEcho::start(&site, address::SERVER, 7);
    let mut agent = Agent::start(&site, &accept(7));
    let dial = Dial::to(address::SERVER, 7).from(address::BALANCER, 5000);
    let ask = || {
        let stream = open_and_send(&site, &dial, &[version_1(), b"hello\n".to_vec()].concat());
        let answer = read_line(&stream);
        assert_eq!(proxyip_tests::read_rest(&stream), b"", "the server closes first");
        answer
    };
    assert_eq!(ask(), r#"198.51.100.7 51234 "hello\n""#);
    eventually("TIME_WAIT at the server", || {
        let sockets = site.net.server.run("ss -Htn state time-wait");
        sockets.contains("10.77.1.2:5000").then_some(())
    });
    let header_line = HEADER_LINE.replace(r"\r", r"\r\n");
    assert_eq!(ask(), format!("10.77.1.2 5000 {header_line}"));
    assert_eq!(agent.numbers("left_to_kernel"), [("time_wait".to_owned(), 1)].into());
    let event = agent.wait_event("left_to_kernel", "10.77.1.2:5000");
    assert_eq!(event["reason"], "time_wait");
    site.finish(&mut agent, &[]);
}
