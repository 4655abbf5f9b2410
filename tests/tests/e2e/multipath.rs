//! MPTCP at one end of the connection or at both. The kernel cannot give an MPTCP listener a connection that it has
//! not opened itself. So the connection is translated.

use proxyip_api::flow::LiveFlow;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Dial, Guard, HandOff, Site, address};

use crate::common::{
    CLIENT, CLIENT6, ask_names, assert_both, assert_echoed, assert_handed_off, header_of_client,
    header_of_client6, open_and_send, pattern, socket_address, trusted_dial, trusted_dial6,
};

/// The kind of MPTCP's TCP option (RFC 8684).
const OPTION: u8 = 30;

/// As Go ≥ 1.24 listens.
#[test]
fn an_mptcp_listener_is_told_the_client() {
    let site = Site::new();
    let server = &site.net.server;
    let _echoes =
        [address::SERVER, address::SERVER6].map(|ip| EchoServer::multipath(server, ip, 80));
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    for (dial, local, header, client) in [
        (trusted_dial(80), "10.77.1.1:80", header_of_client(), CLIENT),
        (trusted_dial6(80), "[fd00:77:1::1]:80", header_of_client6(), CLIENT6),
    ] {
        let stream = open_and_send(&site, &dial, &header);
        assert_both(ask_names(&stream), socket_address(client));
        let peer = stream.local_addr().expect("a bound socket").to_string();
        let found: LiveFlow = agent.json(&["lookup", &peer, local]);
        let client_and_hand_off = (found.flow.client, &*found.flow.hand_off);
        assert_eq!(client_and_hand_off, (socket_address(client), "translate"));
        assert_echoed(&stream, &pattern(1_000_000));
        let close = agent.wait_event("close", &peer);
        assert_eq!((&close["client"], &close["hand_off"]), (&client.into(), &"translate".into()));
    }
    assert_handed_off(&agent, HandOff::Multipath);
    assert_eq!(agent.numbers("left_to_kernel"), [].into());
    site.finish(&mut agent, &[]);
}

#[test]
fn the_reason_is_said_in_status_and_diagnostics() {
    let site = Site::new();
    let _echo = EchoServer::multipath(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    for _ in 0..3 {
        let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
        assert_both(ask_names(&stream), socket_address(CLIENT));
    }
    let connections = agent.listener().connections;
    let [row] = &*connections else { panic!("one kind of connection: {connections:?}") };
    assert_eq!(agent.translated_for("mptcp"), 3, "{row:?}");
    let sentence = row.sentence.as_deref().expect("a sentence");
    assert!(agent.ask(&["status"]).stdout.contains(sentence), "{sentence}");
    let line = agent.wait_diagnostic("MPTCP");
    assert!(line.contains("web"), "no listener in: {line}");
    let lines = agent.process().stderr();
    assert_eq!(lines.lines().filter(|line| line.contains("MPTCP")).count(), 1, "{lines}");
    site.finish(&mut agent, &[]);
}

/// Sequence numbers of MPTCP's own count the header too: nobody may agree on it.
#[test]
fn a_load_balancer_that_offers_mptcp_gets_tcp() {
    let site = Site::new();
    let server = &site.net.server;
    let _plain = EchoServer::start(server, "::", 80);
    let _multipath = EchoServer::multipath(server, "::", 81);
    let mut agent = Agent::start(&site, &Guard::ports(&[80, 81]));
    for dial in [trusted_dial(80), trusted_dial(81), trusted_dial6(80), trusted_dial6(81)] {
        let stream = open_and_send(&site, &dial.multipath(), &header_of_client6());
        assert_both(ask_names(&stream), socket_address(CLIENT6));
        assert_echoed(&stream, &pattern(300_000));
    }
    site.stop_captures();
    let capture = site.balancer_capture();
    let offered = capture.count(|sent| sent.syn() && !sent.ack() && sent.has_option(OPTION));
    assert_eq!(offered, 4);
    assert_eq!(capture.count(|sent| sent.ack() && sent.has_option(OPTION)), 0, "agreed on");
    site.finish(&mut agent, &[]);
}

/// Sources that are not trusted send no header, and may have what the application offers.
#[test]
fn mptcp_of_strangers_is_left_alone() {
    let site = Site::new();
    let _echo = EchoServer::multipath(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let dial = Dial::to(address::SERVER, 80).from(address::STRANGER, 0).multipath();
    let stream = dial.open(&site.net.balancer);
    assert_both(ask_names(&stream), stream.local_addr().expect("a bound socket"));
    assert_echoed(&stream, &pattern(300_000));
    site.stop_captures();
    let capture = site.balancer_capture();
    let agreed = capture.count(|sent| sent.syn() && sent.ack() && sent.has_option(OPTION));
    assert_eq!(agreed, 1);
    site.finish(&mut agent, &[]);
}
