//! Handshakes that the kernel does itself are remembered in a table that evicts: in a flood, the oldest are forgotten.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::ops::Range;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use proxyip_common::cookie::Check;
use proxyip_tests::{
    Agent, Cookies, Flooder, Forged, HandOff, RawPeer, Segment, Site, eventually, turn,
};

use crate::common::{CLIENT, header_of_client, socket_address};
use crate::crowd::{Crowd, guard, passed_syns, server, settle};
use crate::full_table::open;
use crate::raw::{DATA, QUESTION};

/// What the table holds.
const ROOM: u64 = 65_536;
/// Some more than that, because the link may lose a few.
const SYNS: u32 = 100_000;

/// The kernel remembers the handshake with a request socket.
#[test]
fn a_handshake_forgotten_in_a_flood_is_reset() {
    with_handshake("1", begin_handshake, |site, agent, listener, peer| {
        flood(site, 0..SYNS, |number| [Crowd::Trusted.syn(number)]);
        send_header(peer);
        expect_reset(site, agent, listener, peer);
    });
}

/// The kernel does not remember it either, but would know its SYN cookie again.
#[test]
fn a_handshake_with_a_syn_cookie_forgotten_in_a_flood_is_reset() {
    with_handshake("2", begin_handshake, |site, agent, listener, peer| {
        flood(site, 0..SYNS, |number| [Crowd::Trusted.syn(number)]);
        send_header(peer);
        expect_reset(site, agent, listener, peer);
    });
}

/// The kernel's cookie has the flow tag of ours by chance; no cookie of ours can be in flight.
#[test]
fn a_forgotten_handshake_that_resembles_one_of_accept_is_reset() {
    with_handshake("2", begin_resembling_handshake, |site, agent, listener, peer| {
        flood(site, 0..SYNS, |number| [Crowd::Trusted.syn(number)]);
        send_header(peer);
        expect_reset(site, agent, listener, peer);
    });
}

/// An LRU map first evicts entries that were never looked up again. SYNs alone cannot evict a handshake after its ACK
/// has come.
#[test]
fn a_handshake_whose_ack_has_come_outlives_a_flood_of_syns() {
    with_handshake("2", begin_handshake, |site, agent, listener, peer| {
        peer.send(RawPeer::ACK, &[], &[]);
        agent.wait_counter("ack_deferred", 2);
        flood(site, 0..SYNS, |number| [Crowd::Trusted.syn(number)]);
        send_header(peer);
        let (_, client) = listener.accept().expect("a connection");
        assert_eq!(client, socket_address(CLIENT));
    });
}

#[test]
fn a_handshake_whose_ack_has_come_is_reset_after_a_flood_of_syns_and_acks() {
    with_handshake("2", begin_handshake, |site, agent, listener, peer| {
        peer.send(RawPeer::ACK, &[], &[]);
        agent.wait_counter("ack_deferred", 2);
        flood(site, 0..2 * SYNS, |number| {
            let syn = Crowd::Trusted.syn(number);
            let sequence = syn.sequence.wrapping_add(1);
            [syn, Forged { sequence, ..Crowd::Trusted.segment(number, RawPeer::ACK, &[]) }]
        });
        send_header(peer);
        expect_reset(site, agent, listener, peer);
    });
}

/// Runs `test` with a connection that was established before and lives on, and with a handshake that has not sent its
/// header.
fn with_handshake(
    syncookies: &str,
    begin: impl FnOnce(&Site) -> RawPeer,
    test: impl FnOnce(&Site, &Agent, &TcpListener, &mut RawPeer),
) {
    let _alone = turn::alone();
    let site = Site::without_captures();
    settle(&site);
    site.net.server.sysctl("ipv4.tcp_syncookies", syncookies);
    let listener = site.net.server.enter(|| TcpListener::bind(server(80))).expect("a listener");
    let mut agent = Agent::start(&site, &guard().hand_off(HandOff::Translate));
    let established = open(&site, &listener, 1);
    established.exchange();

    stay_on_one_cpu();
    let mut peer = begin(&site);
    test(&site, &agent, &listener, &mut peer);
    established.exchange();
    open(&site, &listener, 2).exchange();
    let drops = agent.numbers("drops");
    assert!(drops.keys().all(|label| label == "handshake_unknown"), "{drops:?}");
    let unknown = drops.get("handshake_unknown").copied().unwrap_or(0);
    agent.assert_healthy(&[("handshake_unknown", unknown)][..usize::from(unknown > 0)]);
    site.assert_clean();
}

fn begin_handshake(site: &Site) -> RawPeer {
    let mut peer = RawPeer::new(site, 4000, 80);
    peer.open(&[]);
    peer
}

/// With a SYN cookie of the kernel's that happens to look like one of the accept hand-off, as one in 256 does.
fn begin_resembling_handshake(site: &Site) -> RawPeer {
    let cookies = Cookies::of(site);
    let mut peers = (4000..).map(|port| {
        let mut peer = RawPeer::new(site, port, 80);
        peer.open(&[]);
        peer
    });
    let is_like = |peer: &RawPeer| {
        let (from, to) = peer.ends();
        let cookie = peer.acknowledgment.wrapping_sub(1);
        cookies.check(from, to, RawPeer::INITIAL, cookie) == Check::SameFlow
    };
    peers.find(is_like).expect("some are")
}

fn flood<const N: usize>(site: &Site, numbers: Range<u32>, forge: impl Fn(u32) -> [Forged; N]) {
    let before = passed_syns(site);
    let start = Instant::now();
    Flooder::new(site).send(numbers.flat_map(forge));
    let passed = passed_syns(site) - before;
    eprintln!("{passed} SYNs in {:.1?}", start.elapsed());
    assert!(passed > ROOM + ROOM / 8, "{passed} SYNs");
}

fn send_header(peer: &mut RawPeer) {
    peer.send(DATA, &[], &[header_of_client(), QUESTION.to_vec()].concat());
}

/// Both ends forget the connection, and the application never hears of it.
fn expect_reset(site: &Site, agent: &Agent, listener: &TcpListener, peer: &RawPeer) {
    assert_reset(peer);
    assert_eq!(agent.counter("handed_over"), 1, "the one before the flood");
    listener.set_nonblocking(true).expect("O_NONBLOCK");
    let accepted = listener.accept().map_err(|error| error.kind());
    assert!(matches!(accepted, Err(ErrorKind::WouldBlock)), "{accepted:?}");
    listener.set_nonblocking(false).expect("O_NONBLOCK");
    let (own, _) = peer.ends();
    assert!(!site.net.server.run("ss -Htan").contains(&own.to_string()), "the kernel remembers it");
    // Which of the two depends on whether the kernel still had a request socket.
    let unknown = agent.numbers("drops").get("handshake_unknown").copied().unwrap_or(0);
    let foreign = agent.counter("cookie_foreign");
    eprintln!("handshake_unknown: {unknown}, cookie_foreign: {foreign}");
    assert_eq!(unknown + foreign, 1);
}

/// The table keeps what came last on each CPU for longer.
fn stay_on_one_cpu() {
    let this_thread = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_thread).expect("sched_getaffinity");
    let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let mut cpus = CpuSet::new();
    cpus.set(first.expect("there is one")).expect("it is within the set");
    sched_setaffinity(this_thread, &cpus).expect("sched_setaffinity");
}

/// SYN-ACKs may have been sent again before.
fn assert_reset(peer: &RawPeer) {
    let is_syn_ack = |segment: &Segment| segment.flags & RawPeer::SYN != 0;
    let reset = eventually("an answer to the header", || {
        peer.receive(Duration::from_secs(1)).filter(|answer| !is_syn_ack(answer))
    });
    assert_eq!(reset.flags, RawPeer::RST, "{reset:?}");
    assert_eq!(reset.sequence, peer.acknowledgment);
}
