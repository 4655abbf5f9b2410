//! Connections that the accept hand-off cannot serve are translated under `auto`: decided at the SYN, told
//! in the status, and nothing to the application.

use std::net::SocketAddr;

use proxyip_tests::servers::{EchoServer, RubyEcho};
use proxyip_tests::{
    Agent, Dial, Guard, HandOff, RawPeer, Site, address, eventually, forget, header, read_line,
};

use crate::common::{
    CLIENT, DESTINATION, ask_names, assert_both, assert_echoed, auto_and_translate,
    header_of_client, open_and_send, pattern, socket_address, trusted_dial,
};
use crate::raw::{DATA, QUESTION, close, expect_answer};

auto_and_translate!(a_connection_that_the_load_balancer_has_forgotten);

/// An ordinary connection is translated for `reason`, the sentence about which holds `words`.
fn translated(site: &Site, reason: &str, words: &str) {
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(site, &Guard::ports(&[80]));
    let stream = open_and_send(site, &trusted_dial(80), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
    assert_echoed(&stream, &pattern(100_000));
    let peer = stream.local_addr().expect("a bound socket").to_string();
    assert_eq!(agent.wait_event("accept", &peer)["hand_off"], "translate");
    assert_eq!(agent.translated_for(reason), 1);
    assert_eq!(agent.numbers("left_to_kernel"), [].into());
    let line = agent.wait_diagnostic(words);
    assert!(line.contains("web"), "no listener in: {line}");
    site.finish(&mut agent, &[]);
}

#[test]
fn syn_cookies_switched_off() {
    let site = Site::new();
    site.net.server.sysctl("ipv4.tcp_syncookies", "0");
    translated(&site, "syncookies_off", "tcp_syncookies");
}

#[test]
fn connection_tracking_that_wants_to_see_the_handshake() {
    let site = Site::new();
    site.net.server.sysctl("netfilter.nf_conntrack_tcp_loose", "0");
    translated(&site, "conntrack_strict", "nf_conntrack_tcp_loose");
}

/// What new connections get now is in the status before there are any, and follows the sysctls.
#[test]
fn the_status_tells_what_new_connections_get() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let listener = agent.listener();
    assert_eq!(listener.hand_off, "auto");
    assert_eq!(listener.new_connections.hand_off, HandOff::Auto.label(), "{listener:?}");
    assert_eq!(listener.connections, []);
    // This kernel can do everything.
    assert!(agent.status().kernel.is_empty());

    site.net.server.sysctl("ipv4.tcp_syncookies", "0");
    let why = eventually("another hand-off for new connections", || {
        let new = agent.listener().new_connections;
        (new.hand_off == "translate").then_some(new.why)
    });
    assert!(why.contains("tcp_syncookies"), "{why}");
    let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
    assert_eq!(agent.status().translated, 1);

    site.net.server.sysctl("ipv4.tcp_syncookies", "1");
    eventually("the first hand-off again", || {
        (agent.new_hand_off() == HandOff::Auto.label()).then_some(())
    });
    let accepted = open_and_send(&site, &trusted_dial(80), &header_of_client());
    assert_both(ask_names(&accepted), socket_address(CLIENT));
    assert_eq!(agent.listener().connections.len(), 2);
    assert_eq!(agent.status().translated, 1);
    site.finish(&mut agent, &[]);
}

/// The server closed first, and the load balancer uses the same source port again within a minute.
#[test]
fn a_connection_in_time_wait() {
    let site = Site::new();
    let _ruby = RubyEcho::start(&site, address::SERVER, 7);
    let mut agent = Agent::start(&site, &Guard::ports(&[7]));
    let dial = Dial::to(address::SERVER, 7).from(address::BALANCER, 5000);
    for number in 0..3 {
        let client = SocketAddr::from(([198, 18, 0, number], 40_000));
        let header = header::v2(client, socket_address(DESTINATION));
        let stream = open_and_send(&site, &dial, &[header, b"hello\n".to_vec()].concat());
        let expected = format!(r#"{} {} "hello\n""#, client.ip(), client.port());
        assert_eq!(read_line(&stream), expected);
        assert_eq!(proxyip_tests::read_rest(&stream), b"", "the server closes first");
        drop(stream);
        eventually("TIME_WAIT at the server", || {
            let sockets = site.net.server.run("ss -Htn state time-wait");
            sockets.contains("10.77.1.2:5000").then_some(())
        });
    }
    assert_eq!(agent.translated_for("time_wait"), 2);
    assert_eq!(agent.numbers("left_to_kernel"), [].into());
    site.finish(&mut agent, &[]);
}

/// The load balancer lost its end of a connection (it was restarted) and uses the same source port again. The kernel
/// challenges the SYN (RFC 5961 §4) and learns that the old connection is dead. The repeated SYN opens a new one.
fn a_connection_that_the_load_balancer_has_forgotten(hand_off: HandOff) {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let dial = trusted_dial(80).from(address::BALANCER, 5000);
    let forgotten = open_and_send(&site, &dial, &header_of_client());
    assert_both(ask_names(&forgotten), socket_address(CLIENT));
    forget(forgotten);

    let other = "198.51.100.8:40000";
    // A header of another length than the first.
    let header = header::v1(socket_address(other), socket_address(DESTINATION));
    let stream = open_and_send(&site, &dial, &header);
    assert_both(ask_names(&stream), socket_address(other));
    assert_echoed(&stream, &pattern(100_000));
    assert_eq!(agent.numbers("left_to_kernel"), [("living_socket".to_owned(), 1)].into());
    site.finish(&mut agent, &[]);
}

#[test]
fn an_mss_below_what_syn_cookies_can_express() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let mut peer = RawPeer::new(&site, 5000, 80);
    peer.open(&[2, 4, 0x02, 0x00]);
    peer.send(RawPeer::ACK, &[], &[]);
    peer.send(DATA, &[], &[header_of_client(), QUESTION.to_vec()].concat());
    expect_answer(&mut peer);
    assert_eq!(agent.translated_for("mss_too_small"), 1);
    close(&mut peer);
    site.finish(&mut agent, &[]);
}
