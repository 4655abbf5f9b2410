//! Handshakes that the kernel does itself, including those that it does not remember.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, RawPeer, Segment, Site, address, eventually, header};

use crate::common::{
    CLIENT6, DESTINATION, ask_names, assert_both, assert_echoed, auto_and_translate, expect_names,
    header_of_client, header_of_client6, open_and_send, pattern, socket_address, trusted_dial,
    trusted_dial6,
};
use crate::other_stacks::{TIMESTAMPS, parse};
use crate::raw::{DATA, QUESTION, close, expect_answer, with_echo};
use crate::segments::{expect_acknowledgment, expect_acknowledgment_of_probe};

auto_and_translate!(
    syn_cookies_of_the_kernel,
    probes_before_the_header_with_syn_cookies_of_the_kernel,
    more_openings_than_the_kernel_remembers,
    an_answer_to_a_probe_is_echoed
);

/// With this value the kernel never remembers a handshake.
const ALWAYS: &str = "2";

/// The kernel then compares the first segment that it gets with the SYN.
fn syn_cookies_of_the_kernel(hand_off: HandOff) {
    let site = Site::new();
    site.net.server.sysctl("ipv4.tcp_syncookies", ALWAYS);
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    for dial in [trusted_dial(80), trusted_dial6(80)] {
        let alone = open_and_send(&site, &dial, &header_of_client6());
        assert_both(ask_names(&alone), socket_address(CLIENT6));
        assert_echoed(&alone, &pattern(300_000));
        let together = [header_of_client6(), QUESTION.to_vec()].concat();
        let together = open_and_send(&site, &dial, &together);
        assert_both(expect_names(&together), socket_address(CLIENT6));
        assert_echoed(&together, &pattern(300_000));
    }
    let cookies = site.net.server.statistic("TcpExt", "SyncookiesRecv");
    assert_eq!(cookies == 4, hand_off.label() == "translate", "{cookies} cookies came back");
    site.finish(&mut agent, &[]);
}

fn probes_before_the_header_with_syn_cookies_of_the_kernel(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, _| {
        site.net.server.sysctl("ipv4.tcp_syncookies", ALWAYS);
        let mut peer = RawPeer::new(site, 4000, 80);
        peer.open(&[]);
        peer.send(RawPeer::ACK, &[], &[]);
        for payload in [[].as_slice(), &[0]] {
            expect_acknowledgment_of_probe(&mut peer, payload);
        }
        peer.send(DATA, &[], &[header_of_client(), QUESTION.to_vec()].concat());
        expect_answer(&mut peer);
        close(&mut peer);
    });
}

/// Load balancers open connections long before they use them.
fn more_openings_than_the_kernel_remembers(hand_off: HandOff) {
    const OPENINGS: u8 = 40;
    let site = Site::new();
    site.net.server.sysctl("core.somaxconn", "8");
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let open = |_| trusted_dial(80).open(&site.net.balancer);
    let streams: Vec<TcpStream> = (0..OPENINGS).map(open).collect();
    for (number, mut stream) in (0..).zip(&streams) {
        let client = SocketAddr::from(([198, 18, 0, number], 40_000));
        let header = header::v2(client, socket_address(DESTINATION));
        stream.write_all(&header).expect("cannot send");
        assert_both(ask_names(stream), client);
    }
    assert_eq!(agent.counter("established"), u64::from(OPENINGS));
    site.finish(&mut agent, &[]);
}

/// Since Linux 6.14 the kernel drops a segment if it echoes a timestamp that its SYN-ACKs did not have.
fn an_answer_to_a_probe_is_echoed(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, _| {
        let mut peer = RawPeer::new(site, 4000, 80);
        let timestamp = |segment: &Segment| {
            let options = parse(&segment.options);
            let found = options.into_iter().find(|(kind, _)| *kind == TIMESTAMPS);
            found.expect("timestamps").1[..4].to_vec()
        };
        let echoing = |value: &[u8]| [&[1, 1, 8, 10, 0, 0, 0, 8], value].concat();
        let offered = timestamp(&peer.open(&[1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0]));
        peer.send(RawPeer::ACK, &echoing(&offered), &[]);
        // The clock of timestamps goes on.
        std::thread::sleep(Duration::from_millis(20));
        let next = peer.sequence;
        peer.sequence = next.wrapping_sub(1);
        peer.send(RawPeer::ACK, &echoing(&offered), &[]);
        peer.sequence = next;
        let answer = expect_acknowledgment(&mut peer, Duration::from_secs(2));
        let echo = echoing(&timestamp(&answer));
        peer.send(DATA, &echo, &[header_of_client(), QUESTION.to_vec()].concat());
        expect_answer(&mut peer);
        peer.send(RawPeer::FIN | RawPeer::ACK, &echo, &[]);
    });
}

/// After its last SYN-ACK the kernel waits no longer: what comes then is too late.
#[test]
fn a_header_after_the_kernels_patience_is_refused() {
    let site = Site::new();
    // Two SYN-ACKs; it gives up after three seconds.
    site.net.server.sysctl("ipv4.tcp_synack_retries", "1");
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]).hand_off(HandOff::Translate);
    let mut agent = Agent::start(&site, &guard);
    let mut peer = RawPeer::new(&site, 4000, 80);
    peer.open(&[]);
    peer.send(RawPeer::ACK, &[], &[]);
    let half_open = || site.net.server.run("ss -Htn state syn-recv");
    assert!(half_open().contains("10.77.1.2:4000"));
    eventually("the kernel gives up", || half_open().is_empty().then_some(()));
    peer.send(DATA, &[], &[header_of_client(), QUESTION.to_vec()].concat());
    // A SYN-ACK sent again may be on its way still.
    let answers = std::iter::from_fn(|| peer.receive(Duration::from_secs(5)));
    let reset = answers.into_iter().find(|answer| answer.flags & RawPeer::SYN == 0);
    assert!(reset.is_some_and(|answer| answer.flags & RawPeer::RST != 0));
    assert_eq!(agent.counter("established"), 0);

    // The same port again.
    let mut peer = RawPeer::new(&site, 4000, 80);
    peer.sequence = 0x2345_6789;
    peer.open(&[]);
    peer.send(DATA, &[], &[header_of_client(), QUESTION.to_vec()].concat());
    expect_answer(&mut peer);
    close(&mut peer);
    let drops = agent.numbers("drops");
    let drops: Vec<_> = drops.iter().map(|(label, count)| (label.as_str(), *count)).collect();
    site.finish(&mut agent, &drops);
}

/// A peer that leaves while its handshake is being waited with leaves nothing behind.
#[test]
fn a_peer_that_resets_before_the_header_frees_the_kernels_memory() {
    with_echo(HandOff::Translate, &[], |site, _| {
        let mut peer = RawPeer::new(site, 4000, 80);
        peer.open(&[]);
        peer.send(RawPeer::ACK, &[], &[]);
        peer.send(RawPeer::RST, &[], &[]);
        eventually("no half-open connection", || {
            site.net.server.run("ss -Htn state syn-recv").is_empty().then_some(())
        });
        let mut peer = RawPeer::new(site, 4000, 80);
        peer.open(&[]);
        peer.send(DATA, &[], &[header_of_client(), QUESTION.to_vec()].concat());
        expect_answer(&mut peer);
        close(&mut peer);
    });
}

/// Its number is not known: nothing of it could be translated.
#[test]
fn a_handshake_begun_before_the_agent_is_refused() {
    for hand_off in [HandOff::Auto, HandOff::Translate] {
        let site = Site::new();
        let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
        let mut peer = RawPeer::new(&site, 4000, 80);
        peer.open(&[]);
        let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
        peer.send(DATA, &[], &[header_of_client(), QUESTION.to_vec()].concat());
        let answers = std::iter::from_fn(|| peer.receive(Duration::from_secs(5)));
        let answer = answers.into_iter().find(|answer| answer.flags & RawPeer::SYN == 0);
        assert!(answer.is_some_and(|answer| answer.flags & RawPeer::RST != 0));
        assert_eq!(site.net.server.run("ss -Htn state syn-recv"), "");
        site.finish(&mut agent, &[("handshake_unknown", 1)]);
    }
}
