//! Clients that may not connect, and sets of clients.

use proxyip_common::{
    flow::FlowRecord,
    settings::{Denied, HandOffChoice, Policy, access},
};

use super::{
    Fate, endpoint,
    tests::{LINE, Peer},
};
use crate::host::{
    frame::{Checksum, Frame},
    sockets::{Kind, Socket},
    wire::flags,
};
use crate::{
    hooks::iptables,
    kernel::platform::{Basic, Modern},
};

/// A listener that denies one client, and judges.
fn denying(choice: HandOffChoice, denied: Denied) -> Peer {
    let mut peer = Peer::new(choice);
    let policy = Policy {
        denied: denied as u8,
        otherwise: access::ALLOW,
        judges: 1,
        mark: 0x50,
        ..Policy::default()
    };
    peer.machine.judge_by(0, policy);
    peer.machine.judge(0, endpoint("203.0.113.9:0"), 128, access::DENY);
    peer
}

#[test]
fn a_denied_client_gets_no_socket() {
    for (denied, fate) in [(Denied::Reset, Fate::Sent), (Denied::Drop, Fate::Dropped)] {
        let mut peer = denying(HandOffChoice::Auto, denied);
        peer.shake_hands::<Modern>();
        for _ in 0..2 {
            let runs = peer.send::<Modern>(flags::ACK, LINE);
            assert_eq!(runs.iter().map(|run| run.fate).collect::<Vec<_>>(), [fate]);
        }
        assert_eq!((peer.received(), peer.machine.records()), (None, 0));
    }
}

#[test]
fn a_denied_client_that_is_translated_leaves_no_handshake_behind() {
    let mut peer = denying(HandOffChoice::Auto, Denied::Reset);
    peer.shake_hands::<Basic>();
    peer.send::<Basic>(flags::ACK, LINE);
    let kind = peer.machine.socket(peer.ends.0, peer.ends.1, Socket::kind);
    assert_ne!(kind, Some(Kind::Connected));
    assert_eq!((peer.received(), peer.machine.records()), (None, 0));
}

#[test]
fn a_marked_client_is_let_through() {
    let mut peer = denying(HandOffChoice::Auto, Denied::Mark);
    peer.shake_hands::<Modern>();
    peer.send::<Modern>(flags::ACK, &[LINE, b"GET /"].concat());
    assert_eq!(peer.received().as_deref(), Some(&b"GET /"[..]));
    let record = peer.machine.record(peer.ends.0, peer.ends.1).unwrap();
    assert!(record.has(FlowRecord::DENIED));
}

#[test]
fn a_handshake_is_not_observed_before_its_client_is_judged() {
    for (judges, fate) in [(0, Fate::Passed), (1, Fate::Dropped)] {
        let mut peer = Peer::new(HandOffChoice::Observe);
        let policy = Policy { judges, otherwise: access::ALLOW, ..Policy::default() };
        peer.machine.judge_by(0, policy);
        peer.send::<Modern>(flags::SYN, b"");
        peer.take_up();
        assert_eq!(peer.send::<Modern>(flags::ACK, b"")[0].fate, fate);
        peer.send::<Modern>(flags::ACK, LINE);
        assert_eq!(peer.received().as_deref(), Some(LINE));
    }
}

#[test]
fn a_set_has_the_client_of_a_flow_or_a_packets_source() {
    let mut peer = Peer::new(HandOffChoice::Auto);
    peer.shake_hands::<Modern>();
    peer.send::<Modern>(flags::ACK, LINE);
    let (_, local) = peer.ends;
    let packet = |peer: &Peer| peer.segment(flags::ACK, b"").frame()[14..].to_vec();
    let has =
        |bytes: Vec<u8>| iptables::has_client(Frame::new(bytes, 54, Checksum::None).as_context());
    // The place of the set is 0 unless the agent sets another.
    assert!(!has(packet(&peer)), "no set");
    peer.machine.make_set(0, 7);
    assert!(!has(packet(&peer)), "an empty set");
    peer.machine.judge(7, endpoint("203.0.113.0:0"), 96 + 24, access::ALLOW);
    assert!(has(packet(&peer)));
    peer.machine.judge(7, endpoint("203.0.113.9:0"), 128, access::DENY);
    assert!(!has(packet(&peer)), "an exception");
    peer.ends = (endpoint("10.0.0.2:1"), local);
    assert!(!has(packet(&peer)), "of no flow");
    peer.machine.judge(7, endpoint("10.0.0.2:0"), 128, access::ALLOW);
    assert!(has(packet(&peer)));
    let mut fragment = packet(&peer);
    fragment[7] = 1;
    assert!(has(fragment), "without ports");
    assert!(!has(vec![0; 40]), "no IP");
}
