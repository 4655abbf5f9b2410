//! Legitimate connections while a flood goes on.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use proxyip_tests::balancers::HaProxy;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{
    Agent, Dial, Flooder, Forged, HandOff, Memory, RawPeer, Site, address, eventually, header,
    is_reset, turn, until,
};
use socket2::SockRef;

use crate::common::{
    DESTINATION, ask_names, assert_both, assert_handed_off, auto_and_translate, header_of_client,
    socket_address,
};
use crate::crowd::{Crowd, guard, own_addresses, passed_syns, settle};
use crate::diagnostics::assert_all_said;
use crate::load::connect_through_haproxy;
use crate::malformed;
use crate::raw::DATA;

auto_and_translate!(legitimate_connections_during_a_flood);

mod accept {
    #[test]
    fn legitimate_connections_during_a_flood() {
        super::legitimate_connections_during_a_flood(proxyip_tests::HandOff::Accept);
    }
}

/// Connections from the load balancer, with a header made by hand.
const DIRECT: u64 = 700;
/// Connections from clients through `HAProxy`.
const THROUGH_HAPROXY: u64 = 300;
const CONNECTIONS: u64 = DIRECT + THROUGH_HAPROXY;
/// SYNs of each crowd, and malformed headers, for each of these.
const RATIO: u64 = 10;
/// Threads for each kind of connection.
const WORKERS: u8 = 4;
/// By how much the agent may grow, KiB.
const GROWTH: u64 = 4096;

/// Between what a thread sends; it leaves some of a small machine to the connections, and to other tests.
const PAUSE: Duration = Duration::from_millis(1);

/// What has been sent, and how many connections have been begun.
#[derive(Default)]
struct Progress {
    syns: AtomicU64,
    /// Malformed headers that were answered with a RST.
    headers: AtomicU64,
    /// Other headers, sent without waiting for the connection's end.
    abandoned: AtomicU64,
    connections: AtomicU64,
    over: AtomicBool,
}

/// Ends the floods on drop, also if the test fails.
struct Floods<'a>(&'a Progress);

impl Drop for Floods<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

impl Progress {
    /// The number of the next connection, when the floods are as far ahead of it as they must be.
    fn next(&self) -> u64 {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        eventually("the floods are ahead", || self.is_ahead(number + 1).then_some(()));
        number
    }

    fn is_ahead(&self, connections: u64) -> bool {
        let sent = [&self.syns, &self.headers].map(|sent| sent.load(Ordering::Relaxed));
        // One more for each: the link may lose a few.
        sent.iter().all(|sent| *sent >= (RATIO + 1) * connections)
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }
}

fn legitimate_connections_during_a_flood(hand_off: HandOff) {
    let _alone = turn::alone();
    let site = Site::without_captures();
    settle(&site);
    let garbage_sources = own_addresses(&site, WORKERS);
    // 198.18.0.0/15 is meant for benchmarks like this one (RFC 2544); the client owns half of it.
    site.net.client.ip("route add local 198.18.0.0/16 dev lo");
    site.net.balancer.ip("route add 198.18.0.0/16 via 203.0.113.9 dev eth0");
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let _haproxy = HaProxy::start(&site, 80, "10.77.1.1:80", "send-proxy-v2");
    let mut agent = Agent::start(&site, &guard().hand_off(hand_off));

    // The warm-up makes the allocations of the first use, before memory is measured.
    let progress = Progress::default();
    let warm_up = || {
        for case in malformed::cases() {
            send_garbage(address::BALANCER, &case, &progress);
        }
    };
    site.net.balancer.enter(warm_up);
    site.net.balancer.enter(|| connect(CONNECTIONS));
    site.net.client.enter(|| connect_through_haproxy(CONNECTIONS));
    agent.wait_counter("closed", 2);
    let before = Memory::measure(&site, &mut agent);

    let start = Instant::now();
    let (errors, during) = under_flood(&site, &mut agent, &progress, &garbage_sources);
    let elapsed = start.elapsed();
    eprintln!("{CONNECTIONS} connections in {elapsed:.1?}, {errors} errors");
    assert_eq!(errors, 0);
    assert_flooded(&site, &agent, &progress);
    agent.wait_counter("closed", CONNECTIONS + 2);
    assert_eq!(agent.counter("established"), CONNECTIONS + 2);
    assert_handed_off(&agent, hand_off);
    let said = assert_all_said(&mut agent);
    assert!(!said.suppressed.is_empty());

    eventually("the server's sockets are gone", || {
        let sockets = Memory::measure(&site, &mut agent).sockets;
        (sockets <= before.sockets).then_some(())
    });
    let after = Memory::measure(&site, &mut agent);
    Memory::print(&[("before", before), ("during", during), ("after", after)]);
    for memory in [during, after] {
        assert!(memory.agent <= before.agent + GROWTH, "the agent has grown");
    }
    assert_eq!(after.maps, before.maps, "maps have grown");
    let drops = agent.numbers("drops");
    let drops: Vec<_> = drops.iter().map(|(label, count)| (label.as_str(), *count)).collect();
    site.finish(&mut agent, &drops);
}

/// Opens all connections during the flood. Returns how many threads met an error. Also returns the memory in use
/// after three quarters of the connections had begun.
fn under_flood(
    site: &Site,
    agent: &mut Agent,
    progress: &Progress,
    garbage_sources: &[String],
) -> (usize, Memory) {
    let net = &site.net;
    let (direct, through_haproxy) = (AtomicU64::new(DIRECT), AtomicU64::new(THROUGH_HAPROXY));
    thread::scope(|scope| {
        let floods = Floods(progress);
        scope.spawn(|| flood(&Flooder::new(site), progress));
        for source in garbage_sources {
            scope.spawn(|| net.balancer.enter(|| flood_with_garbage(source, progress)));
        }
        let mut workers = Vec::new();
        for _ in 0..WORKERS {
            workers.push(scope.spawn(|| net.balancer.enter(|| work(progress, &direct, connect))));
            workers.push(scope.spawn(|| {
                net.client.enter(|| work(progress, &through_haproxy, connect_through_haproxy));
            }));
        }
        until(Duration::from_mins(1), || {
            let begun = progress.connections.load(Ordering::Relaxed);
            let stopped = workers.iter().all(ScopedJoinHandle::is_finished);
            (begun > CONNECTIONS * 3 / 4 || stopped).then_some(())
        });
        let during = Memory::measure(site, agent);
        let errors = workers.into_iter().filter_map(|worker| worker.join().err()).count();
        drop(floods);
        (errors, during)
    })
}

/// SYNs and ACKs from both crowds, and headers out of nothing from strangers.
fn flood(flooder: &Flooder, progress: &Progress) {
    /// Of each kind.
    const ROUND: u32 = 4;
    let header = header_of_client();
    let mut number = 0;
    while progress.goes_on() {
        flooder.send((number..number + ROUND).flat_map(|number| forge(number, &header)));
        number += ROUND;
        progress.syns.fetch_add(ROUND.into(), Ordering::Relaxed);
        thread::sleep(PAUSE);
    }
    eprintln!("{} forged segments", u64::from(number) * 5);
}

fn forge(number: u32, header: &[u8]) -> [Forged; 5] {
    [
        Crowd::Trusted.syn(number),
        Crowd::Strangers.syn(number),
        Crowd::Trusted.segment(number, RawPeer::ACK, &[]),
        Crowd::Strangers.segment(number, RawPeer::ACK, &[]),
        Crowd::Strangers.segment(number, DATA, header),
    ]
}

fn flood_with_garbage(source: &str, progress: &Progress) {
    let cases = malformed::cases();
    let mut cases = cases.iter().cycle();
    while progress.goes_on() {
        send_garbage(source, cases.next().expect("there are some"), progress);
        thread::sleep(PAUSE);
    }
}

/// Sends a malformed header. One that is incomplete is given up at once.
fn send_garbage(source: &str, case: &(&str, &str, Vec<u8>), progress: &Progress) {
    let (reason, what, bytes) = case;
    let dial = Dial::to(address::SERVER, 80).from(source, 0);
    let mut stream = dial.attempt_here().unwrap_or_else(|error| panic!("{source}: {error}"));
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    stream.write_all(bytes).expect("cannot send");
    if *reason == "header_incomplete" {
        progress.abandoned.fetch_add(1, Ordering::Relaxed);
        return;
    }
    assert!(is_reset(&stream), "{what}");
    progress.headers.fetch_add(1, Ordering::Relaxed);
}

fn work(progress: &Progress, left: &AtomicU64, connect: impl Fn(u64)) {
    let take = |left: u64| left.checked_sub(1);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
        connect(progress.next());
    }
}

fn connect(number: u64) {
    let [high, low] = u16::try_from(number).expect("few connections").to_be_bytes();
    let client = SocketAddr::from(([198, 19, high, low], 40_000));
    let dial = Dial::to(address::SERVER, 80).from(address::BALANCER, 0);
    let mut stream = dial.attempt_here().unwrap_or_else(|error| panic!("{client}: {error}"));
    let header = header::v2(client, socket_address(DESTINATION));
    stream.write_all(&header).expect("cannot send");
    assert_both(ask_names(&stream), client);
}

/// Asserts that the server has seen the floods.
fn assert_flooded(site: &Site, agent: &Agent, progress: &Progress) {
    let [headers, abandoned] =
        [&progress.headers, &progress.abandoned].map(|sent| sent.load(Ordering::Relaxed));
    let drops = agent.numbers("drops");
    let refused: u64 = drops.values().sum();
    let counted = |label| agent.counter(label);
    let passed = passed_syns(site);
    let syns = counted("syn_answered") + passed;
    // All SYNs, without those of real connections: with good headers, with malformed headers, and for warming up.
    let forged = syns - headers - abandoned - CONNECTIONS - 2;
    // An ACK that lies far from the remembered SYN is of no handshake that is known.
    let unknown = drops.get("handshake_unknown").copied().unwrap_or_default();
    let foreign = counted("cookie_foreign") + counted("cookie_foreign_unanswered");
    let acks = foreign + counted("out_of_order") + unknown;
    eprintln!(
        "{forged} forged SYNs, {} of them from strangers; {acks} forged ACKs of the trusted; \
         {refused} refused headers",
        counted("bypassed")
    );
    assert!(forged >= 2 * RATIO * CONNECTIONS, "{forged} SYNs");
    assert!(counted("bypassed") >= RATIO * CONNECTIONS);
    assert!(forged - counted("bypassed") >= RATIO * CONNECTIONS);
    assert!(acks >= RATIO * CONNECTIONS, "{acks} ACKs");
    let refused = refused - unknown;
    assert!(refused >= headers && headers >= RATIO * CONNECTIONS, "{refused} headers refused");
}
