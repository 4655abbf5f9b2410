//! How long headers take, from the handshake on.

use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, Site, eventually};
use proxyip_user::tables::listeners::ListenerMap;
use proxyip_user::tables::outcomes::Latency;

use crate::common::{
    ask_names, header_of_client, listen_with_room_for_one, trusted_dial, trusted_dial6,
};

const PAUSE: Duration = Duration::from_millis(300);

/// Of the only listener.
fn latency(site: &Site) -> Latency {
    let map = ListenerMap::open(&site.scratch.pin_path()).expect("the pinned maps");
    map.header_latency(0).expect("counters")
}

/// Asserts that there is one header, in the bucket of its time. The time is between `least` and `most`.
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

/// A connection that writes each of `parts` after a pause. If the histogram counts it, asserts that the time covers
/// all parts.
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

#[test]
fn a_late_header_is_found_in_the_histogram() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    assert_measured(&site, &[&header_of_client()]);
    // Headers that come at once are in one of the first buckets.
    for dial in [trusted_dial(80), trusted_dial6(80)] {
        let mut stream = dial.open(&site.net.balancer);
        stream.write_all(&header_of_client()).expect("cannot send");
        ask_names(&stream);
    }
    let latency = eventually("three", || Some(latency(&site)).filter(|one| one.count == 3));
    let soon = latency.buckets.iter().take_while(|(bound, _)| bound.is_some_and(|ms| ms <= 128));
    assert_eq!(soon.map(|(_, count)| count).sum::<u64>(), 2, "{latency:?}");
    site.finish(&mut agent, &[]);
}

/// A peer retransmits its header if its connection finds the accept queue full. Under accept, the connection has been
/// opened by then.
#[test]
fn a_header_that_is_sent_again_counts_once() {
    const CONNECTIONS: usize = 4;
    let site = Site::new();
    let listener = listen_with_room_for_one(&site);
    let agent = Agent::start(&site, &Guard::ports(&[80]));
    let streams: [_; CONNECTIONS] =
        std::array::from_fn(|_| trusted_dial(80).open(&site.net.balancer));
    for mut stream in &streams {
        std::io::Write::write_all(&mut stream, &header_of_client()).expect("cannot send");
    }
    let overflows = || site.net.server.statistic("TcpExt", "ListenOverflows");
    eventually("some are refused twice", || (overflows() >= 4).then_some(()));
    for _ in &streams {
        listener.accept().expect("a connection");
    }
    agent.wait_counter("established", CONNECTIONS as u64);
    assert_eq!(latency(&site).count, CONNECTIONS as u64);
    // A segment that was dropped and sent again does not count as another connection.
    let verdicts = agent.listener().verdicts;
    assert_eq!((verdicts.accept, verdicts.drop), (CONNECTIONS as u64, 0));
    site.assert_clean();
}
