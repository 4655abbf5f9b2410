//! How long headers take, from the handshake on.

use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, Site, address, eventually};
use proxyip_user::tables::listeners::ListenerMap;
use proxyip_user::tables::outcomes::Latency;

use crate::common::{
    ask_names, auto_translate_and_observe, header_of_client, listen_with_room_for_one,
    open_and_send, trusted_dial, trusted_dial6,
};

auto_translate_and_observe!(
    a_late_header_is_found_in_the_histogram,
    a_header_in_two_parts_counts_when_it_is_complete,
    without_timestamps_accept_does_not_know,
    refused_headers_do_not_count
);

const PAUSE: Duration = Duration::from_millis(300);

/// Of the only listener.
fn latency(site: &Site) -> Latency {
    let map = ListenerMap::open(&site.scratch.pin_path()).expect("the pinned maps");
    map.header_latency(0).expect("counters")
}

/// Asserts that there is one header, in the bucket of its time, which is between these.
fn assert_counted(latency: &Latency, least: Duration, most: Duration) {
    // A clock of milliseconds may tick at both ends.
    let expected = least.saturating_sub(Duration::from_millis(1))..=most + Duration::from_millis(2);
    assert!(expected.contains(&latency.sum), "{:?}, not {expected:?}", latency.sum);
    let mut below = Duration::ZERO;
    for (bound, count) in &latency.buckets {
        let bound = bound.map_or(Duration::MAX, Duration::from_millis);
        let here = latency.sum > below && latency.sum <= bound;
        assert_eq!(*count, u64::from(here), "up to {bound:?}: {latency:?}");
        below = bound;
    }
    assert_eq!(latency.count, 1);
}

/// A connection that writes each of `parts` after a pause; asserts that it is counted with the time of all of them, if at
/// all.
fn assert_measured(site: &Site, parts: &[&[u8]]) {
    let begin = Instant::now();
    let mut stream = trusted_dial(80).open(&site.net.balancer);
    let connected = Instant::now();
    for part in parts {
        sleep(PAUSE);
        stream.write_all(part).expect("cannot send");
    }
    let least = connected.elapsed().min(PAUSE * u32::try_from(parts.len()).expect("a few"));
    let latency = eventually("a header", || Some(latency(site)).filter(|one| one.count != 0));
    assert_counted(&latency, least, begin.elapsed());
}

fn start(site: &Site, hand_off: HandOff) -> (EchoServer, Agent<'_>) {
    let echo = EchoServer::start(&site.net.server, "::", 80);
    (echo, Agent::start(site, &Guard::ports(&[80]).hand_off(hand_off)))
}

fn a_late_header_is_found_in_the_histogram(hand_off: HandOff) {
    let site = Site::new();
    let (_echo, mut agent) = start(&site, hand_off);
    assert_measured(&site, &[&header_of_client()]);
    // Those that come at once are in one of the first.
    for dial in [trusted_dial(80), trusted_dial6(80)] {
        let mut stream = dial.open(&site.net.balancer);
        stream.write_all(&header_of_client()).expect("cannot send");
        if hand_off != HandOff::Observe {
            ask_names(&stream);
        }
    }
    let latency = eventually("three", || Some(latency(&site)).filter(|one| one.count == 3));
    let soon = latency.buckets.iter().take_while(|(bound, _)| bound.is_some_and(|ms| ms <= 128));
    assert_eq!(soon.map(|(_, count)| count).sum::<u64>(), 2, "{latency:?}");
    site.finish(&mut agent, &[]);
}

fn a_header_in_two_parts_counts_when_it_is_complete(hand_off: HandOff) {
    let site = Site::new();
    let (_echo, mut agent) = start(&site, hand_off);
    let header = header_of_client();
    let (one, other) = header.split_at(10);
    assert_measured(&site, &[one, other]);
    site.finish(&mut agent, &[]);
}

fn without_timestamps_accept_does_not_know(hand_off: HandOff) {
    let site = Site::new();
    site.net.balancer.sysctl("ipv4.tcp_timestamps", "0");
    let (_echo, mut agent) = start(&site, hand_off);
    if hand_off.label() == "accept" {
        let mut stream = trusted_dial(80).open(&site.net.balancer);
        stream.write_all(&header_of_client()).expect("cannot send");
        ask_names(&stream);
        assert_eq!(latency(&site).count, 0);
    } else {
        assert_measured(&site, &[&header_of_client()]);
    }
    site.finish(&mut agent, &[]);
}

fn refused_headers_do_not_count(hand_off: HandOff) {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]).hand_off(hand_off).deny("198.51.100.7/32");
    let mut agent = Agent::start(&site, &guard);
    for bytes in [header_of_client(), b"no header at all\n".to_vec()] {
        let stream = open_and_send(&site, &trusted_dial(80), &bytes);
        assert!(proxyip_tests::is_reset(&stream));
    }
    assert_eq!(latency(&site).count, 0);
    site.finish(&mut agent, &[("denied_reset", 1), ("header_missing", 1)]);
}

/// As a peer does whose connection finds the accept queue full: under accept it has been opened then.
#[test]
fn a_header_that_is_sent_again_counts_once() {
    const CONNECTIONS: usize = 4;
    let site = Site::new();
    let listener = listen_with_room_for_one(&site);
    let agent = Agent::start(&site, &Guard::ports(&[80]));
    let streams: [_; CONNECTIONS] =
        std::array::from_fn(|_| open_and_send(&site, &trusted_dial(80), &header_of_client()));
    let overflows = || site.net.server.statistic("TcpExt", "ListenOverflows");
    eventually("some are refused twice", || (overflows() >= 4).then_some(()));
    for _ in &streams {
        listener.accept().expect("a connection");
    }
    agent.wait_counter("established", CONNECTIONS as u64);
    assert_eq!(latency(&site).count, CONNECTIONS as u64);
    // Nor is a segment that was dropped and sent again another connection.
    let verdicts = &agent.listener()["verdicts"];
    assert_eq!((&verdicts["accept"], &verdicts["drop"]), (&CONNECTIONS.into(), &0.into()));
    site.assert_clean();
}
