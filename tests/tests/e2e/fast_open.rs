//! TCP Fast Open: payload may come before the handshake ends. The header of a connection must not slip through with
//! it.

use std::io::Write;

use proxyip_tests::servers::{EchoServer, PeerNames};
use proxyip_tests::{Agent, Guard, HandOff, Site, header};

use crate::common::{
    CLIENT, CLIENT6, DESTINATION, assert_both, assert_echoed, auto_and_translate, expect_names,
    header_of_client6, pattern, socket_address, trusted_dial, trusted_dial6,
};

auto_and_translate!(headers_are_consumed);

/// With cookies the client asks for one and, had it got one, would send payload with its next SYN. Without, payload is
/// sent with every SYN, and would be taken (0x200 and 4 of `ip-sysctl.rst`).
const SETTINGS: [(&str, &str); 2] = [("3", "3"), ("5", "515")];

fn headers_are_consumed(hand_off: HandOff) {
    for (balancer, server) in SETTINGS {
        consumes_headers(hand_off, balancer, server);
    }
}

fn consumes_headers(hand_off: HandOff, balancer: &str, server: &str) {
    let site = Site::new();
    site.net.balancer.sysctl("ipv4.tcp_fastopen", balancer);
    site.net.server.sysctl("ipv4.tcp_fastopen", server);
    let _plain = EchoServer::fast_open(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    for dial in [trusted_dial(80), trusted_dial6(80)] {
        for _ in 0..3 {
            let mut stream = dial.clone().fast_open().open(&site.net.balancer);
            let first = [header_of_client6(), b"who am I?\n".to_vec()].concat();
            stream.write_all(&first).expect("cannot send");
            assert_both(expect_names(&stream), socket_address(CLIENT6));
            assert_echoed(&stream, &pattern(100_000));
        }
    }
    assert_eq!(agent.counter("established"), 6);
    site.finish(&mut agent, &[]);
}

/// The header comes with the SYN or behind it, and is read there.
#[test]
fn observed() {
    for (balancer, server) in SETTINGS {
        let site = Site::new();
        site.net.balancer.sysctl("ipv4.tcp_fastopen", balancer);
        site.net.server.sysctl("ipv4.tcp_fastopen", server);
        let _echo = EchoServer::fast_open(&site.net.server, "::", 80);
        let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(HandOff::Observe));
        for _ in 0..3 {
            let mut stream = trusted_dial(80).fast_open().open(&site.net.balancer);
            let header = header::v1(socket_address(CLIENT), socket_address(DESTINATION));
            stream.write_all(&header).expect("cannot send");
            assert!(PeerNames::read(&stream).1.starts_with("\"PROXY TCP4 "));
            assert_echoed(&stream, &pattern(100_000));
            let peer = stream.local_addr().expect("a bound socket").to_string();
            assert_eq!(agent.wait_event("accept", &peer)["client"], CLIENT);
        }
        site.finish(&mut agent, &[]);
    }
}

/// Without proxyip the payload of the SYN is taken: the tests above could fail.
#[test]
fn the_fixtures_use_it() {
    let site = Site::new();
    site.net.balancer.sysctl("ipv4.tcp_fastopen", "5");
    site.net.server.sysctl("ipv4.tcp_fastopen", "515");
    let _echo = EchoServer::fast_open(&site.net.server, "::", 80);
    let mut stream = trusted_dial(80).fast_open().open(&site.net.balancer);
    stream.write_all(b"who am I?\n").expect("cannot send");
    expect_names(&stream);
    assert_eq!(site.net.server.statistic("TcpExt", "TCPFastOpenPassive"), 1);
    site.assert_clean();
}
