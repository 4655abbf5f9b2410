//! The server's own stack drops what was handed over to it.

use std::net::TcpStream;
use std::time::Duration;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, Site, address, eventually, is_reset, read_line, until};

use crate::common::{
    CLIENT, ask_names, assert_both, assert_echoed, auto_and_translate, expect_names,
    header_of_client, listen_with_room_for_one, open_and_send, pattern, socket_address,
    trusted_dial,
};

auto_and_translate!(
    an_ordinary_stateful_firewall_lets_connections_through,
    connections_that_find_the_accept_queue_full_come_later
);

/// A common rule: a connection must begin with a SYN.
const RULE: &str = "-p tcp ! --syn -m conntrack --ctstate NEW -j DROP";

/// Refusals that depend on how often the load balancer's kernel tries again.
fn finish(site: &Site, agent: &mut Agent, expected: &[&str]) {
    let drops = agent.numbers("drops");
    for label in drops.keys() {
        assert!(expected.contains(&label.as_str()), "{drops:?}");
    }
    let drops: Vec<_> = drops.iter().map(|(label, count)| (label.as_str(), *count)).collect();
    site.finish(agent, &drops);
}

/// The first connections fail. They are reset when the agent has noticed, and the following ones are translated.
#[test]
fn a_firewall_that_wants_to_see_the_handshake_gets_to_see_it() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    site.net.server.run(&format!("iptables -A INPUT {RULE}"));
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let open = || open_and_send(&site, &trusted_dial(80), &header_of_client());
    let refused = [open(), open()];
    let unused = trusted_dial(80).open(&site.net.balancer);
    agent.wait_counter("handed_over", 2);
    let line = agent.wait_diagnostic("conntrack");
    assert!(line.contains("web"), "no listener in: {line}");
    for stream in &refused {
        assert!(is_reset(stream));
    }
    assert_eq!(agent.counter("established"), 0);

    let stream = open();
    assert_both(ask_names(&stream), socket_address(CLIENT));
    assert_echoed(&stream, &pattern(100_000));
    assert_eq!(agent.translated_for("stack_refuses"), 1);
    let new_connections = agent.listener().new_connections;
    assert_eq!(new_connections.hand_off, "translate");
    assert!(!new_connections.why.is_empty());
    let found = agent.status().findings.concat();
    assert!(found.contains("accept is tried again in"), "{found}");
    let degraded = agent.listener().degraded;
    assert_eq!(
        degraded.iter().map(|one| (one.port, &*one.reason)).collect::<Vec<_>>(),
        [(80, "stack_refuses")]
    );
    assert!((1..60).contains(&degraded[0].retry_s), "{degraded:?}");

    // The handshake of this one was done before.
    assert_is_reset_when_used(&unused);
    finish(&site, &mut agent, &["payload_without_socket", "stack_refuses"]);
}

/// Another port of the same listener keeps the better hand-off.
#[test]
fn only_the_port_that_is_refused_falls_back() {
    let site = Site::new();
    let _servers = [80, 81].map(|port| EchoServer::start(&site.net.server, address::SERVER, port));
    site.net
        .server
        .run(&format!("iptables -A INPUT -p tcp --dport 80 {}", RULE.replace("-p tcp ", "")));
    let mut agent = Agent::start(&site, &Guard::ports(&[80, 81]));
    let open = |port| open_and_send(&site, &trusted_dial(port), &header_of_client());
    let refused = open(80);
    agent.wait_diagnostic("connections to port 80 were handed over");
    assert!(is_reset(&refused));
    for (port, hand_off) in [(80, "translate"), (81, "accept")] {
        let stream = open(port);
        assert_both(ask_names(&stream), socket_address(CLIENT));
        let peer = stream.local_addr().unwrap().to_string();
        assert_eq!(agent.wait_event("accept", &peer)["hand_off"], hand_off);
    }
    assert_eq!(agent.new_hand_off(), "accept", "not all ports have fallen back");
    finish(&site, &mut agent, &["payload_without_socket", "stack_refuses"]);
}

fn assert_is_reset_when_used(mut stream: &TcpStream) {
    std::io::Write::write_all(&mut stream, &header_of_client()).expect("cannot send");
    assert!(is_reset(stream));
}

/// After a restart the agent tries again: the rule may be gone.
#[test]
fn a_restart_tries_the_accept_hand_off_again() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    site.net.server.run(&format!("iptables -A INPUT {RULE}"));
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let refused = open_and_send(&site, &trusted_dial(80), &header_of_client());
    agent.wait_diagnostic("conntrack");
    assert!(is_reset(&refused));
    let translated = open_and_send(&site, &trusted_dial(80), &header_of_client());
    assert_both(ask_names(&translated), socket_address(CLIENT));

    site.net.server.run("iptables -F INPUT");
    agent.kill();
    agent.start_again();
    let accepted = open_and_send(&site, &trusted_dial(80), &header_of_client());
    assert_both(ask_names(&accepted), socket_address(CLIENT));
    let peer = accepted.local_addr().unwrap().to_string();
    assert_eq!(agent.wait_event("accept", &peer)["hand_off"], "accept");
    assert_echoed(&translated, &pattern(100_000));
    finish(&site, &mut agent, &["payload_without_socket", "stack_refuses"]);
}

/// If only the accept hand-off is allowed, the connection fails. The gap is counted, and the log names the likely
/// cause.
#[test]
fn a_firewall_that_refuses_the_only_hand_off_allowed_is_noticed() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    site.net.server.run(&format!("iptables -A INPUT {RULE}"));
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(HandOff::Accept));
    let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
    agent.wait_counter("handed_over", 1);
    agent.wait_diagnostic("conntrack");
    assert_eq!(agent.counter("established"), 0);
    assert_eq!(agent.flows(), []);
    assert_eq!(agent.new_hand_off(), "accept");
    drop(stream);
    finish(&site, &mut agent, &["payload_without_socket"]);
}

/// A stateful firewall, common on servers: it accepts new connections to the service, and packets of known
/// connections.
fn an_ordinary_stateful_firewall_lets_connections_through(hand_off: HandOff) {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    for rule in [
        "-m conntrack --ctstate INVALID -j DROP",
        "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        "-p tcp --dport 80 -m conntrack --ctstate NEW -j ACCEPT",
        "-j DROP",
    ] {
        site.net.server.run(&format!("iptables -A INPUT {rule}"));
    }
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    for header in [header_of_client(), [header_of_client(), b"who am I?\n".to_vec()].concat()] {
        let stream = open_and_send(&site, &trusted_dial(80), &header);
        let alone = header.len() == header_of_client().len();
        let names = if alone { ask_names(&stream) } else { expect_names(&stream) };
        assert_both(names, socket_address(CLIENT));
        assert_echoed(&stream, &pattern(1_000_000));
    }
    site.finish(&mut agent, &[]);
}

/// The program does not call `accept()` for a while. Connections that find no room are established when the load
/// balancer's kernel retransmits their first segment. This is no firewall: the hand-off stays.
fn connections_that_find_the_accept_queue_full_come_later(hand_off: HandOff) {
    const CONNECTIONS: usize = 4;
    let site = Site::new();
    let listener = listen_with_room_for_one(&site);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let open = || trusted_dial(80).open(&site.net.balancer);
    let streams: [TcpStream; CONNECTIONS] = std::array::from_fn(|_| open());
    let first = [header_of_client(), b"who am I?\n".to_vec()].concat();
    for mut stream in &streams {
        std::io::Write::write_all(&mut stream, &first).expect("cannot send");
    }
    let overflows = || site.net.server.statistic("TcpExt", "ListenOverflows");
    eventually("each is refused twice", || (overflows() >= 6).then_some(()));
    assert_eq!(agent.counter("established"), 1);
    // As long as the agent would take to notice a firewall.
    let changed =
        until(Duration::from_secs(5), || (agent.new_hand_off() != hand_off.label()).then_some(()));
    assert_eq!(changed, None);
    for _ in &streams {
        let (socket, peer) = listener.accept().expect("a connection");
        assert_eq!(peer.as_socket(), Some(socket_address(CLIENT)));
        assert_eq!(read_line(&TcpStream::from(socket)), "who am I?");
    }
    assert_eq!(agent.counter("established"), 4);
    finish(&site, &mut agent, &["payload_without_socket"]);
}
