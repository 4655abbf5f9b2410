//! Clients that may not connect and try again: their segments, or their ports.

use std::io::Write;
use std::net::TcpStream;

use proxyip_tests::servers::{AcceptQueue, EchoServer};
use proxyip_tests::{Agent, Dial, HandOff, Site, address, eventually, forget, is_reset, reset};

use crate::common::{header_of_client, open_and_send, trusted_dial};
use crate::policy::{assert_silent, denying, is_served};

/// Sends a header in two parts, the second one when the first has arrived.
fn send_split(site: &Site, agent: &Agent) -> TcpStream {
    let header = header_of_client();
    let (first, second) = header.split_at(20);
    let before = agent.counter("header_part");
    let mut stream = open_and_send(site, &trusted_dial(80), first);
    agent.wait_counter("header_part", before + 1);
    stream.write_all(second).expect("cannot send");
    stream
}

/// The rest of the header is retransmitted again and again, but reported only once.
fn assert_dropped(agent: &Agent, stream: &TcpStream) {
    agent.wait_counter("denied_again", 3);
    assert_silent(stream);
    let own = stream.local_addr().expect("a bound socket").to_string();
    agent.wait_event("refuse", &own);
    let log = agent.flow_log();
    let refusals = log.iter().filter(|line| line["event"] == "refuse" && line["peer"] == own);
    let reasons: Vec<_> = refusals.map(|line| line["reason"].as_str()).collect();
    assert_eq!(reasons, [Some("denied_dropped")], "{log:?}");
}

/// Under observe the application has the connection already: it must learn of the end, or get nothing more.
#[test]
fn an_observed_split_header_reaches_the_application_no_further_than_its_first_part() {
    let site = Site::new();
    let queue = AcceptQueue::listen(&site.net.server, 80);
    for (denied, drops) in [("reset", "denied_reset"), ("drop", "denied_dropped")] {
        let mut agent = Agent::start(&site, &denying(HandOff::Observe).denied(denied));
        let stream = send_split(&site, &agent);
        let mut accepted = eventually("a connection", || queue.next());
        if denied == "reset" {
            assert!(is_reset(&stream));
            // The application may lose what it has not read before the reset.
            let read = std::io::Read::read_to_end(&mut accepted, &mut Vec::new());
            let error = read.expect_err("no orderly end").kind();
            assert_eq!(error, std::io::ErrorKind::ConnectionReset);
        } else {
            assert_dropped(&agent, &stream);
            let mut part = [0; 64];
            let length = std::io::Read::read(&mut accepted, &mut part).expect("the first part");
            assert_eq!(part[..length], header_of_client()[..20]);
            assert_silent(&accepted);
            reset(stream);
        }
        agent.assert_healthy(&[(drops, 1)]);
    }
    site.assert_clean();
}

#[test]
fn the_same_port_after_a_reset() {
    the_same_port_after(HandOff::Auto, "reset", "denied_reset", |_, stream| {
        assert!(is_reset(&stream));
    });
}

/// The load balancer has given up: with a RST, or without.
#[test]
fn the_same_port_after_a_drop() {
    for (hand_off, give_up) in
        [(HandOff::Translate, reset as fn(TcpStream)), (HandOff::Observe, forget)]
    {
        the_same_port_after(hand_off, "drop", "denied_dropped", |agent, stream| {
            let before = agent.counter("denied_again");
            agent.wait_counter("denied_again", before + 1);
            give_up(stream);
        });
    }
}

/// A client is denied, allowed, and denied again, its load balancer using the same port.
fn the_same_port_after(
    hand_off: HandOff,
    denied: &str,
    reason: &str,
    give_up: impl Fn(&Agent, TcpStream),
) {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &denying(hand_off).denied(denied));
    let dial = trusted_dial(80).from(address::BALANCER, 5000);
    let open = || open_again(&site, &dial);
    give_up(&agent, open());

    let change = |verb: &str| {
        let answer = agent.ask(&["acl", verb, "web", "198.51.100.7"]);
        assert_eq!(answer.code, 0, "{answer:?}");
    };
    change("allow");
    let served = open();
    assert!(is_served(&served));
    let own = served.local_addr().expect("a bound socket").to_string();
    reset(served);
    agent.wait_event("close", &own);

    change("remove");
    give_up(&agent, open());
    let verdicts: Vec<_> = eventually("four lines of the flow log", || {
        let log = agent.flow_log();
        (log.len() >= 4).then(|| log.iter().map(|line| line["event"].clone()).collect())
    });
    assert_eq!(verdicts, ["refuse", "accept", "close", "refuse"]);
    site.finish(&mut agent, &[(reason, 2)]);
}

/// The port may belong for a moment to the last connection.
fn open_again(site: &Site, dial: &Dial) -> TcpStream {
    let mut stream =
        eventually("the source port is free", || dial.attempt(&site.net.balancer).ok());
    let bytes = [header_of_client(), b"hello\n".to_vec()].concat();
    stream.write_all(&bytes).expect("cannot send");
    stream
}
