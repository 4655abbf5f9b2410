//! Connections through `HAProxy` while one machine that the server trusts floods it as fast as the link takes frames.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proxyip_tests::balancers::HaProxy;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{
    Agent, BURST, Batches, Flooder, Forged, Guard, HandOff, Memory, RawPeer, Site, address,
    eventually, turn,
};

use crate::crowd::{Crowd, guard, settle};
use crate::load::connect_through_haproxy;

/// How long each flood goes on, in seconds.
const SECONDS: &str = "PROXYIP_TEST_FLOOD_SECONDS";
const DEFAULT_SECONDS: u64 = 2;

/// Frames of a flood. Then they come again.
const FRAMES: u32 = 16_384;
/// Between two connections.
const PAUSE: Duration = Duration::from_millis(5);
/// By how much the agent may grow, KiB.
const GROWTH: u64 = 4096;

/// Makes a segment, of each number another one.
type Forge = fn(u32) -> Forged;

/// What a flood consists of: nothing at all, SYNs, or bare ACKs of numbers that nobody has sent.
const FLOODS: [(&str, Option<Forge>); 3] =
    [("no flood", None), ("SYNs", Some(syn)), ("forged ACKs", Some(ack))];

fn syn(number: u32) -> Forged {
    Crowd::Trusted.syn(number)
}

fn ack(number: u32) -> Forged {
    Crowd::Trusted.segment(number, RawPeer::ACK, &[])
}

/// What came of the connections during a flood.
struct Outcome {
    /// How long each took, in order.
    took: Vec<Duration>,
    /// How many segments were sent meanwhile.
    forged: u64,
    memory: Memory,
}

#[test]
fn a_flood_at_full_rate_fails_no_connection() {
    let _alone = turn::alone();
    serve_in_floods(&Site::without_captures(), &guard());
}

/// XDP answers and drops segments of machines that the server has just answered. The flood's come from many others.
#[test]
fn a_flood_at_full_rate_fails_no_connection_at_xdp() {
    let _alone = turn::alone();
    let site = Site::without_captures();
    site.net.server.run("ethtool -K eth0 rxvlan off");
    let _peer = Batches::on(&site.net.balancer, "eth1");
    serve_in_floods(&site, &guard().interface_setting(r#"xdp = "native""#));
}

fn serve_in_floods(site: &Site, guard: &Guard) {
    let seconds = std::env::var(SECONDS).map(|seconds| seconds.parse().expect(SECONDS));
    let duration = Duration::from_secs(seconds.unwrap_or(DEFAULT_SECONDS));
    settle(site);
    site.net.client.ip("route add local 198.18.0.0/16 dev lo");
    site.net.balancer.ip("route add 198.18.0.0/16 via 203.0.113.9 dev eth0");
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let _haproxy = HaProxy::start(site, 80, "10.77.1.1:80", "send-proxy-v2");
    let guard = guard.clone().hand_off(HandOff::Accept);
    let mut agent = Agent::start(site, &guard);
    // What is allocated at the first use.
    site.net.client.enter(|| connect_through_haproxy(0));
    flood(site, ack, Duration::from_millis(200));
    let before = Memory::measure(site, &mut agent);

    let mut connections = 1;
    for (name, forge) in FLOODS {
        let counted = sum_of_counters(&agent);
        let outcome = serve(site, &mut agent, forge, duration);
        connections += u64::try_from(outcome.took.len()).expect("a count");
        print(name, &outcome, duration);
        assert!(outcome.memory.agent <= before.agent + GROWTH, "{name}: the agent has grown");
        assert_eq!(outcome.memory.maps, before.maps, "{name}: maps have grown");
        // The link may lose a few. So may the server's queue.
        let seen = sum_of_counters(&agent) - counted;
        assert!(seen >= outcome.forged / 2, "{name}: {seen} of {}", outcome.forged);
    }
    agent.wait_counter("closed", connections);
    assert_eq!(agent.counter("established"), connections);
    eventually("nobody waits for anything", || {
        (Memory::measure(site, &mut agent).sockets <= before.sockets).then_some(())
    });
    site.finish(&mut agent, &[]);
}

/// What the agent counts of forged segments.
fn sum_of_counters(agent: &Agent) -> u64 {
    let labels = ["syn_answered", "cookie_foreign", "cookie_foreign_unanswered", "out_of_order"];
    labels.map(|label| agent.counter(label)).iter().sum()
}

/// Connects again and again during a flood. A connection that fails, or an answer that does not name its client, is a panic.
fn serve(site: &Site, agent: &mut Agent, forge: Option<Forge>, duration: Duration) -> Outcome {
    let (forged, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let took = thread::scope(|scope| {
        scope.spawn(|| {
            if let Some(forge) = forge {
                forged.store(flood_until(site, forge, &over), Ordering::Relaxed);
            }
        });
        let connecting = scope.spawn(|| site.net.client.enter(|| connect_for(duration)));
        let took = connecting.join();
        over.store(true, Ordering::Relaxed);
        took
    });
    let mut took = took.expect("each connection is served");
    took.sort();
    Outcome { took, forged: forged.into_inner(), memory: Memory::measure(site, agent) }
}

fn connect_for(duration: Duration) -> Vec<Duration> {
    let begin = Instant::now();
    let mut took = Vec::new();
    while begin.elapsed() < duration {
        let since = Instant::now();
        connect_through_haproxy(u64::try_from(took.len() % 60_000).expect("a count"));
        took.push(since.elapsed());
        thread::sleep(PAUSE);
    }
    took
}

fn flood(site: &Site, forge: Forge, duration: Duration) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| flood_until(site, forge, &over));
        thread::sleep(duration);
        over.store(true, Ordering::Relaxed);
    });
}

/// Returns how many segments were sent.
fn flood_until(site: &Site, forge: Forge, over: &AtomicBool) -> u64 {
    let flooder = Flooder::new(site);
    let frames: Vec<_> = (0..FRAMES).map(|number| flooder.frame(&forge(number))).collect();
    let mut sent = 0;
    for burst in frames.chunks(BURST).cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        flooder.send_frames(burst);
        sent += BURST as u64;
    }
    sent
}

fn print(name: &str, Outcome { took, forged, memory }: &Outcome, duration: Duration) {
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    eprintln!(
        "{name}: {} segments a second; {} connections, each of them served; half within {:.1?}, 99 % within {:.1?}, all \
         within {:.1?}; agent {} KiB, maps {} KiB",
        forged / duration.as_secs(),
        took.len(),
        at(50),
        at(99),
        at(100),
        memory.agent,
        memory.maps
    );
}
