//! Many connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use proxyip_tests::balancers::HaProxy;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Dial, Guard, HandOff, Site, address, eventually, turn};

use crate::common::{ask_names, assert_both, auto_and_translate};

auto_and_translate!(ten_thousand_connections_from_ten_thousand_clients);

const CONNECTIONS: usize = 10_000;
const WORKERS: usize = 16;

/// Opened, used and closed as fast as possible, each from a different address.
fn ten_thousand_connections_from_ten_thousand_clients(hand_off: HandOff) {
    let _alone = turn::alone();
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let _haproxy = HaProxy::start(&site, 80, "10.77.1.1:80", "send-proxy-v2");
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    // 198.18.0.0/15 is meant for benchmarks like this one (RFC 2544); the client owns half of it.
    site.net.client.ip("route add local 198.18.0.0/16 dev lo");
    site.net.balancer.ip("route add 198.18.0.0/16 via 203.0.113.9 dev eth0");

    let next = AtomicUsize::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| site.net.client.enter(|| work(&next)));
        }
    });
    let elapsed = start.elapsed().as_secs_f64();
    let count = u32::try_from(CONNECTIONS).expect("a small number");
    eprintln!(
        "{count} connections in {elapsed:.1} s, {:.0} per second",
        f64::from(count) / elapsed
    );

    agent.wait_counter("closed", count.into());
    let counters = ["handed_over", "established", "closed", "event_lost"];
    let counters = counters.map(|label| agent.counter(label));
    assert_eq!(counters, [count.into(), count.into(), count.into(), 0]);
    assert_eq!(agent.numbers("left_to_kernel"), [].into());
    let log = eventually("the last lines of the flow log", || {
        Some(agent.flow_log()).filter(|log| log.len() >= 2 * CONNECTIONS)
    });
    for event in ["accept", "close"] {
        assert_eq!(log.iter().filter(|line| line["event"] == event).count(), CONNECTIONS);
    }
    assert_eq!(agent.flows(), []);
    site.finish(&mut agent, &[]);
}

fn work(next: &AtomicUsize) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= CONNECTIONS {
            return;
        }
        connect_through_haproxy(u64::try_from(number).expect("a count"));
    }
}

/// One of many clients. Each has a different address, and the server's answer must name it.
pub(crate) fn connect_through_haproxy(number: u64) {
    let client = format!("198.18.{}.{}", number / 250, number % 250 + 1);
    let dial = Dial::to(address::FRONT, 80).from(&client, 0);
    let stream = dial.attempt_here().unwrap_or_else(|error| panic!("{client}: {error}"));
    let own = stream.local_addr().expect("a bound socket");
    assert_eq!(own.ip().to_string(), client);
    assert_both(ask_names(&stream), own);
}
