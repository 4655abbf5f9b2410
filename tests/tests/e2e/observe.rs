//! The observe hand-off: the application reads the header itself, and proxyip reads it too.

use std::collections::HashSet;
use std::io::Write;
use std::time::Duration;

use proxyip_api::flow::LiveFlow;
use proxyip_tests::balancers::HaProxy;
use proxyip_tests::servers::{AcceptProxy, EchoServer, Nginx, PeerNames};
use proxyip_tests::{
    Agent, Capture, CapturedSegment, Dial, Guard, HandOff, Site, address, curl, header, read_line,
};

use crate::common::{
    CLIENT, DESTINATION, ask_names, assert_both, assert_echoed, assert_handed_off,
    header_of_client, open_and_send, pattern, socket_address, trusted_dial, trusted_dial6,
};

fn observe() -> Guard {
    Guard::ports(&[80]).hand_off(HandOff::Observe)
}

#[test]
fn nginx_reads_the_header_itself_and_those_of_health_checks() {
    let site = Site::new();
    let nginx = Nginx::proxy_protocol(&site, 80);
    let _haproxy = HaProxy::start(&site, 80, "10.77.1.1:80", "send-proxy-v2");
    let mut agent = Agent::start(&site, &observe());
    let fetched = curl(&site, &["http://203.0.113.1/"]);
    // nginx tells the load balancer, which getpeername() names, from the client.
    let (peer, client) = fetched.body.split_at(fetched.body.find(" 203.").expect("two names"));
    assert!(peer.starts_with("10.77.1.2 "), "{peer}");
    assert_eq!(client.trim(), fetched.client_words());
    assert!(nginx.access_log_line(1).starts_with(&fetched.body));

    let peer = peer.replace(' ', ":");
    let client = fetched.client.expect("curl had a connection").to_string();
    for event in ["accept", "close"] {
        let line = agent.wait_event(event, &peer);
        assert_eq!((&line["client"], &line["origin"]), (&client.clone().into(), &"proxied".into()));
    }
    assert_handed_off(&agent, HandOff::Observe);
    health_checks_get_through(&site, &agent, &nginx);
    site.finish(&mut agent, &[]);
}

fn health_checks_get_through(site: &Site, agent: &Agent, nginx: &Nginx) {
    let request = [header::aws_health_check(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()];
    let stream = open_and_send(site, &trusted_dial(80), &request.concat());
    assert_eq!(read_line(&stream), "HTTP/1.1 200 OK\r");
    assert!(nginx.access_log_line(2).starts_with("10.77.1.2 "));
    let own = stream.local_addr().expect("a bound socket").to_string();
    let event = agent.wait_event("accept", &own);
    assert_eq!((&event["origin"], &event["client"]), (&"local".into(), &own.into()));
}

#[test]
fn haproxy_reads_the_header_itself() {
    let site = Site::new();
    let _server = AcceptProxy::start(&site, 80);
    let _haproxy = HaProxy::start(&site, 80, "10.77.1.1:80", "send-proxy");
    let mut agent = Agent::start(&site, &observe());
    let fetched = curl(&site, &["http://203.0.113.1/"]);
    assert_eq!(fetched.body, fetched.client_words());
    assert_handed_off(&agent, HandOff::Observe);
    assert_eq!(agent.flow_log()[0]["client"], fetched.client.unwrap().to_string());
    site.finish(&mut agent, &[]);
}

#[test]
fn lookups_have_the_client_and_getpeername_the_load_balancer() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &observe());
    let (client, destination) = (socket_address(CLIENT), socket_address(DESTINATION));
    let stream = open_and_send(&site, &trusted_dial(80), &header::v1(client, destination));
    let (names, line) = PeerNames::read(&stream);
    let own = stream.local_addr().expect("a bound socket");
    assert_both(names, own);
    assert!(line.starts_with("\"PROXY TCP4 "), "{line}");
    let found: LiveFlow = agent.json(&["lookup", &own.to_string(), "10.77.1.1:80"]);
    assert_eq!((found.flow.client, &*found.flow.hand_off), (client, "observe"));
    let connections = agent.listener().connections;
    assert_eq!((&*connections[0].hand_off, connections[0].count), ("observe", 1));
    drop(stream);
    let close = agent.wait_event("close", &own.to_string());
    // The header is part of what the application reads.
    assert_eq!(close["bytes_received"], header::v1(client, destination).len(), "{close}");
    site.finish(&mut agent, &[]);
}

/// What the load balancer sends arrives as it is, and nothing else; the same the other way.
#[test]
fn nothing_changes_on_the_wire() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &observe());
    for dial in [trusted_dial(80), trusted_dial6(80)] {
        let (client, destination) = (socket_address(CLIENT), socket_address(DESTINATION));
        let stream = open_and_send(&site, &dial, &header::v1(client, destination));
        assert!(PeerNames::read(&stream).1.starts_with("\"PROXY TCP4 "));
        // Of a long stream, one late acknowledgment lets TCP send a whole window again.
        site.assert_swift();
        assert_echoed(&stream, &pattern(500_000));
    }
    agent.wait_counter("closed", 2);
    site.stop_captures();
    for (to_server, sender) in [(true, &site.net.balancer), (false, &site.net.server)] {
        let direction = if to_server { "to the server" } else { "from the server" };
        let [sent, received] =
            [site.balancer_capture(), site.server_capture()].map(|end| segments(end, to_server));
        assert!(sent.len() > 100, "{direction}: {} segments", sent.len());
        assert!(sent == received, "{direction}: the captures differ");
        let payload = || received.iter().filter(|segment| !segment.payload.is_empty());
        let numbers: HashSet<_> = payload().map(|sent| (sent.source, sent.sequence)).collect();
        // On a busy machine an acknowledgment comes late, and TCP itself retransmits.
        let sent_again = sender.statistic("Tcp", "RetransSegs");
        let came_again = (payload().count() - numbers.len()) as u64;
        assert!(came_again <= sent_again, "{direction}: payload came twice");
    }
    site.finish(&mut agent, &[]);
}

/// All fields of the segments that one end captured, except the time, sorted. On a machine with several processors a
/// veth does not keep their order.
fn segments(capture: &Capture, to_server: bool) -> Vec<CapturedSegment> {
    let segments = capture.segments().into_iter();
    let chosen = segments.filter(|segment| (segment.destination.port() == 80) == to_server);
    let mut chosen: Vec<_> =
        chosen.map(|segment| CapturedSegment { time: Duration::ZERO, ..segment }).collect();
    chosen.sort_unstable();
    chosen
}

#[test]
fn strangers_and_connections_without_any_payload_are_no_flows() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &observe());
    let dial = Dial::to(address::SERVER, 80).from(address::STRANGER, 0);
    let stranger = dial.open(&site.net.balancer);
    assert_both(ask_names(&stranger), stranger.local_addr().expect("a bound socket"));
    assert_echoed(&stranger, &pattern(100_000));
    assert_eq!(agent.counter("bypassed"), 1);
    assert_eq!(agent.flows(), []);

    drop(trusted_dial(80).open(&site.net.balancer));
    let after = open_and_send(&site, &trusted_dial(80), &header_of_client());
    let own = after.local_addr().expect("a bound socket").to_string();
    agent.wait_event("accept", &own);
    drop(after);
    agent.wait_event("close", &own);
    assert_eq!(agent.flow_log().len(), 2, "{:?}", agent.flow_log());
    site.finish(&mut agent, &[]);
}

/// What is known of a connection is kept with its socket.
#[test]
fn a_header_that_comes_after_a_restart_is_read() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &observe());
    let mut stream = trusted_dial(80).open(&site.net.balancer);
    agent.kill();
    agent.start_again();
    let (client, destination) = (socket_address(CLIENT), socket_address(DESTINATION));
    stream.write_all(&header::v1(client, destination)).expect("cannot send");
    assert!(PeerNames::read(&stream).1.starts_with("\"PROXY TCP4 "));
    let peer = stream.local_addr().expect("a bound socket").to_string();
    assert_eq!(agent.wait_event("accept", &peer)["client"], CLIENT);
    assert_echoed(&stream, &pattern(100_000));
    site.finish(&mut agent, &[]);
}
