//! `proxyip detach` while connections are translated, which nobody could go on with afterwards.

use std::io::{ErrorKind, Read};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use proxyip_tests::servers::{EchoServer, PeerNames};
use proxyip_tests::{
    Agent, Guard, HandOff, Process, Site, address, agent_binary, eventually, header, is_reset,
};

use crate::common::{
    CLIENT, DESTINATION, assert_both, assert_echoed, exchange, header_of_client, open_and_send,
    open_for, pattern, socket_address, trusted_dial,
};

/// Stops the agent and starts `proxyip detach` with this patience, in seconds.
fn detach(site: &Site, agent: &mut Agent, drain: &str) -> Process {
    agent.process().signal(Signal::SIGTERM);
    agent.process().wait();
    let mut command = site.net.server.command(&agent_binary().display().to_string());
    command.args(["detach", "--drain", drain, "--pin-path"]).arg(site.scratch.pin_path());
    Process::start("detach", site.scratch.directory(), &mut command)
}

fn assert_nothing_remains(site: &Site) {
    let pin_path = site.scratch.pin_path();
    assert!(!pin_path.exists(), "{} remains", pin_path.display());
    // Programs are freed a moment after their last user has gone.
    for direction in ["ingress", "egress"] {
        eventually("no program of proxyip at the server's interface", || {
            let filters = site.net.server.run(&format!("tc filter show dev eth0 {direction}"));
            filters.is_empty().then_some(())
        });
    }
}

#[test]
fn detach_waits_for_translated_connections() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]).hand_off(HandOff::Translate);
    let mut agent = Agent::start(&site, &guard);
    let [(first, _), (second, _)] = [1, 2].map(|number| open_for(&site, number));
    let mut detaching = detach(&site, &mut agent, "60");
    let left = |process: &Process, number: &str| process.stderr().contains(number).then_some(());
    detaching.ready("says how many are left", |process| left(process, "2"));

    // New connections are none of proxyip's any more.
    let version_1 = header::v1(socket_address(CLIENT), socket_address(DESTINATION));
    let new = open_and_send(&site, &trusted_dial(80), &version_1);
    let (names, line) = PeerNames::read(&new);
    assert_both(names, new.local_addr().expect("a bound socket"));
    assert!(line.starts_with("\"PROXY TCP4 "), "{line}");

    [&first, &second].into_iter().for_each(exchange);
    drop(first);
    detaching.ready("says how many are left", |process| left(process, "1"));
    assert_echoed(&second, &pattern(1_000_000));
    drop(second);
    assert_eq!(detaching.wait().code(), Some(0), "{}", detaching.stderr());
    assert_nothing_remains(&site);
    assert_echoed(&new, &pattern(100_000));
    site.assert_clean();
}

/// Both ends learn of it: going on, they would talk past each other.
#[test]
fn connections_left_at_the_deadline_are_named_and_cut() {
    for drain in ["0", "2"] {
        let site = Site::new();
        let bind = || TcpListener::bind("10.77.1.1:80");
        let listener = site.net.server.enter(bind).expect("a listener");
        let guard = Guard::ports(&[80]).hand_off(HandOff::Translate);
        let mut agent = Agent::start(&site, &guard);
        let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
        let (mut accepted, _) = listener.accept().expect("a connection");
        let start = Instant::now();
        let mut detaching = detach(&site, &mut agent, drain);
        assert_eq!(detaching.wait().code(), Some(0), "{}", detaching.stderr());
        let patience = Duration::from_secs(drain.parse().expect("seconds"));
        assert!(start.elapsed() >= patience, "{:?}", start.elapsed());

        let (log, peer) = (detaching.stderr(), stream.local_addr().expect("a bound socket"));
        let addresses = [peer.to_string(), "10.77.1.1:80".to_owned(), CLIENT.to_owned()];
        let named = log.lines().any(|line| addresses.iter().all(|one| line.contains(one)));
        assert!(named, "no line with {addresses:?} in: {log}");
        assert!(is_reset(&stream));
        accepted.set_read_timeout(Some(Duration::from_secs(5))).expect("SO_RCVTIMEO");
        let error = accepted.read(&mut [0]).expect_err("the connection is cut").kind();
        assert!(matches!(error, ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset));
        assert_nothing_remains(&site);
        site.assert_clean();
    }
}

/// Connections of the accept hand-off need nobody: there is nothing to wait for.
#[test]
fn detach_does_not_wait_for_accepted_connections() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]).hand_off(HandOff::Accept);
    let mut agent = Agent::start(&site, &guard);
    let (stream, _) = open_for(&site, 1);
    let start = Instant::now();
    let mut detaching = detach(&site, &mut agent, "60");
    assert_eq!(detaching.wait().code(), Some(0), "{}", detaching.stderr());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_nothing_remains(&site);
    assert_echoed(&stream, &pattern(1_000_000));
    site.assert_clean();
}
