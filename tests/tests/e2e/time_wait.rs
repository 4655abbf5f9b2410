//! Connections that are over: what the server still says of them is in the peer's own numbers.

use std::net::TcpListener;
use std::time::Duration;

use proxyip_tests::servers::RubyEcho;
use proxyip_tests::{Agent, Guard, HandOff, RawPeer, Segment, Site, address, eventually};

use crate::common::{auto_and_translate, header_of_client};
use crate::raw::{DATA, close};
use crate::segments::answer_all;

auto_and_translate!(time_wait_answers_in_the_peers_numbers, a_reset_of_the_servers);

const SOON: Duration = Duration::from_secs(2);

/// A connection from port 4000 that a Ruby program has closed, with everything acknowledged.
fn with_closed(hand_off: HandOff, test: impl FnOnce(&Site, &mut RawPeer)) {
    let site = Site::new();
    answer_all(&site);
    let _ruby = RubyEcho::start(&site, address::SERVER, 7);
    let mut agent = Agent::start(&site, &Guard::ports(&[7]).hand_off(hand_off));
    let mut peer = RawPeer::new(&site, 4000, 7);
    peer.open(&[]);
    peer.send(DATA, &[], &[header_of_client(), b"hello\n".to_vec()].concat());
    peer.receive_payload();
    let last = loop {
        let segment = peer.receive(SOON).expect("the server's end of the stream");
        if segment.flags & RawPeer::FIN != 0 {
            break segment;
        }
    };
    assert_eq!(last.acknowledgment, peer.sequence, "{last:?}");
    peer.acknowledgment = peer.acknowledgment.wrapping_add(1);
    close(&mut peer);
    expect_last_acknowledgment(&peer);
    eventually("TIME_WAIT at the server", || {
        site.net.server.run("ss -Htn state time-wait").contains("10.77.1.2:4000").then_some(())
    });
    test(&site, &mut peer);
    site.finish(&mut agent, &[]);
}

fn expect_last_acknowledgment(peer: &RawPeer) -> Segment {
    let answer = peer.receive(SOON).expect("an acknowledgment");
    assert_eq!(answer.flags, RawPeer::ACK, "{answer:?}");
    assert_eq!(answer.acknowledgment, peer.sequence, "{answer:?}");
    assert_eq!(answer.sequence, peer.acknowledgment, "{answer:?}");
    answer
}

/// The last segment again is acknowledged. A repeated SYN of the old connection begins no new one (RFC 9293 §3.6.1). A
/// SYN with a later number does.
fn time_wait_answers_in_the_peers_numbers(hand_off: HandOff) {
    with_closed(hand_off, |site, peer| {
        for _ in 0..3 {
            peer.sequence = peer.sequence.wrapping_sub(1);
            close(peer);
            expect_last_acknowledgment(peer);
        }
        let next = peer.sequence;
        for _ in 0..2 {
            peer.sequence = RawPeer::INITIAL;
            peer.send(RawPeer::SYN, &[], &[]);
            peer.sequence = next;
            expect_last_acknowledgment(peer);
            close(peer);
            peer.sequence = next;
            expect_last_acknowledgment(peer);
        }
        let mut peer = RawPeer::new(site, 4000, 7);
        peer.sequence = next.wrapping_add(100_000);
        peer.open(&[]);
        peer.send(DATA, &[], &[header_of_client(), b"hello\n".to_vec()].concat());
        let answer = String::from_utf8(peer.receive_payload()).expect("text");
        assert_eq!(answer, "198.51.100.7 51234 \"hello\\n\"\n");
        peer.send(RawPeer::RST, &[], &[]);
    });
}

/// A program that closes with something unread loses it, and TCP says so with a RST.
fn a_reset_of_the_servers(hand_off: HandOff) {
    let site = Site::new();
    let listener = site.net.server.enter(|| TcpListener::bind("10.77.1.1:80")).expect("a listener");
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let mut peer = RawPeer::new(&site, 4000, 80);
    peer.open(&[]);
    peer.send(DATA, &[], &[header_of_client(), b"unread".to_vec()].concat());
    drop(listener.accept().expect("a connection"));
    let reset = loop {
        let segment = peer.receive(SOON).expect("a RST");
        if segment.flags & RawPeer::RST != 0 {
            break segment;
        }
    };
    assert_eq!(reset.sequence, peer.acknowledgment, "{reset:?}");
    assert_eq!(reset.acknowledgment, peer.sequence, "{reset:?}");
    agent.wait_event("close", "10.77.1.2:4000");
    site.finish(&mut agent, &[]);
}
