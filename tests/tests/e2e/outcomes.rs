//! Connections of a listener, counted by hand-off, version of the header and verdict.

use std::io::Write;

use proxyip_common::flow::HandOff as Given;
use proxyip_common::verdict::Verdict;
use proxyip_tests::header::{v1, v2};
use proxyip_tests::servers::{AcceptQueue, EchoServer};
use proxyip_tests::{Agent, Dial, Guard, HandOff, Site, address, eventually, is_reset};
use proxyip_user::tables::listeners::ListenerMap;
use proxyip_user::tables::outcomes::Outcome;

use crate::common::{
    CLIENT, DESTINATION, header_of_client, header_of_client6, open_and_send, socket_address,
    trusted_dial, trusted_dial6,
};
use crate::policy::{denying, is_served};

/// A client that no list has.
const NEIGHBOUR: &str = "198.51.100.8:1";

/// Of the only listener.
fn outcomes(site: &Site) -> Vec<Outcome> {
    let map = ListenerMap::open(&site.scratch.pin_path()).expect("the pinned maps");
    map.outcomes(0).expect("counters")
}

fn given(hand_off: HandOff) -> Option<Given> {
    let all = [Given::Accept, Given::Translate, Given::Observe];
    all.into_iter().find(|one| one.label() == hand_off.label())
}

fn outcome(hand_off: HandOff, version: Option<u8>, verdict: Verdict, count: u64) -> Outcome {
    Outcome { hand_off: given(hand_off), version, verdict, count }
}

/// Waits until these have been counted, in the order of versions and verdicts, and nothing else.
fn assert_counted(site: &Site, expected: &[Outcome]) {
    let total = |outcomes: &[Outcome]| outcomes.iter().map(|one| one.count).sum::<u64>();
    let counted = eventually("as many connections", || {
        Some(outcomes(site)).filter(|counted| total(counted) >= total(expected))
    });
    assert_eq!(counted, expected);
}

#[test]
fn accepted_and_denied_connections_are_counted() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &denying(HandOff::Auto));
    let ask = |dial: &Dial, header: &[u8]| {
        is_served(&open_and_send(&site, dial, &[header, b"hello\n"].concat()))
    };
    let (neighbour, destination) = (socket_address(NEIGHBOUR), socket_address(DESTINATION));
    for _ in 0..2 {
        assert!(ask(&trusted_dial(80), &v1(neighbour, destination)));
    }
    for dial in [trusted_dial(80), trusted_dial6(80), trusted_dial(80)] {
        assert!(ask(&dial, &v2(neighbour, destination)));
    }
    assert!(!ask(&trusted_dial(80), &v1(socket_address(CLIENT), destination)));
    assert!(!ask(&trusted_dial(80), &header_of_client()));
    assert!(!ask(&trusted_dial6(80), &header_of_client6()));
    assert!(is_reset(&open_and_send(&site, &trusted_dial(80), b"no header at all\n")));
    let expected = [
        outcome(HandOff::Auto, None, Verdict::Reset, 1),
        outcome(HandOff::Auto, Some(1), Verdict::Accept, 2),
        outcome(HandOff::Auto, Some(1), Verdict::Reset, 1),
        outcome(HandOff::Auto, Some(2), Verdict::Accept, 3),
        outcome(HandOff::Auto, Some(2), Verdict::Reset, 2),
    ];
    assert_counted(&site, &expected);
    // A restarted agent goes on counting.
    agent.kill();
    agent.start_again();
    assert_counted(&site, &expected);
    site.finish(&mut agent, &[("denied_reset", 3), ("header_missing", 1)]);
}

/// The agent refuses these, as nothing comes that a kernel program could refuse.
#[test]
fn headers_that_are_never_completed_are_counted() {
    let site = Site::without_captures();
    let _queue = AcceptQueue::listen(&site.net.server, 80);
    let guard = Guard::ports(&[80]).hand_off(HandOff::Translate).setting("header_timeout = 1");
    let mut agent = Agent::start(&site, &guard);
    for _ in 0..2 {
        let mut stream = trusted_dial(80).open(&site.net.balancer);
        stream.write_all(&header_of_client()[..10]).expect("cannot send");
        assert!(is_reset(&stream));
    }
    assert_counted(&site, &[outcome(HandOff::Translate, None, Verdict::Reset, 2)]);
    site.finish(&mut agent, &[("header_timeout", 2)]);
}

/// Their hand-off is not decided; each SYN counts.
#[test]
fn refused_strangers_are_counted() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).setting("untrusted = \"reset\""));
    // The decision for this connection does not affect those that follow.
    let bytes = [header_of_client(), b"hello\n".to_vec()].concat();
    assert!(is_served(&open_and_send(&site, &trusted_dial(80), &bytes)));
    for _ in 0..3 {
        let stranger = Dial::to(address::SERVER, 80).from(address::STRANGER, 0);
        assert!(stranger.attempt(&site.net.balancer).is_err());
    }
    let strangers = Outcome { hand_off: None, ..outcome(HandOff::Auto, None, Verdict::Reset, 3) };
    assert_counted(&site, &[strangers, outcome(HandOff::Auto, Some(2), Verdict::Accept, 1)]);
    for line in agent.flow_log().iter().filter(|line| line["event"] == "refuse") {
        assert!(line.get("hand_off").is_none(), "{line}");
    }
    site.finish(&mut agent, &[("untrusted_reset", 3)]);
}
