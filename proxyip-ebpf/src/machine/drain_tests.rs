//! Ports that a command has drained: new connections are refused, begun ones go on.

use proxyip_common::{
    counter::DropReason,
    settings::{DrainedPort, HandOffChoice},
};

use super::{
    Fate, endpoint,
    tests::{LINE, Peer},
};
use crate::host::{
    sockets::{Kind, Socket},
    wire::flags,
};
use crate::kernel::platform::{Basic, Modern, Platform};

const HAND_OFFS: [HandOffChoice; 4] =
    [HandOffChoice::Auto, HandOffChoice::Accept, HandOffChoice::Translate, HandOffChoice::Observe];

/// Both families: the load balancer's end, and the listener's.
const ENDS: [(&str, &str); 2] =
    [("10.0.0.2:40000", "10.0.1.2:443"), ("[fd00::2]:40000", "[fd00::1]:443")];

fn peer(choice: HandOffChoice, (peer, local): (&str, &str)) -> Peer {
    let mut of_family = Peer::new(choice);
    of_family.machine.trust(0, endpoint("[fd00::]:0"), 8, true);
    of_family.ends = (endpoint(peer), endpoint(local));
    of_family
}

/// What happened to the peer's SYN.
fn fate_of_syn<P: Platform>(peer: &mut Peer) -> Fate {
    let runs = peer.send::<P>(flags::SYN, b"");
    let [run] = &runs[..] else { panic!("{runs:?}") };
    run.fate
}

fn assert_refused<P: Platform>(mut peer: Peer) {
    assert_eq!(fate_of_syn::<P>(&mut peer), Fate::Sent);
    assert_eq!(peer.answer().flags, flags::RST | flags::ACK);
    assert_eq!(peer.machine.dropped(DropReason::Drained), 1);
}

#[test]
fn a_syn_to_a_drained_port_is_refused_with_each_hand_off() {
    for choice in HAND_OFFS {
        for ends in ENDS {
            for port in [DrainedPort::ALL, 443] {
                let mut peer = peer(choice, ends);
                peer.machine.drain(0, port);
                assert_refused::<Modern>(peer);
            }
            let mut peer = peer(choice, ends);
            peer.machine.drain(0, DrainedPort::ALL);
            assert_refused::<Basic>(peer);
        }
    }
}

#[test]
fn another_port_and_another_listener_take_connections() {
    for choice in HAND_OFFS {
        for ends in ENDS {
            let mut peer = peer(choice, ends);
            peer.machine.drain(0, 80);
            peer.machine.drain(1, 443);
            fate_of_syn::<Modern>(&mut peer);
            assert_eq!(peer.machine.dropped(DropReason::Drained), 0, "{choice:?}");
            assert_eq!(peer.answer().flags, flags::SYN | flags::ACK, "{choice:?}");
        }
    }
}

#[test]
fn a_header_that_is_on_its_way_still_comes_in() {
    for choice in [HandOffChoice::Auto, HandOffChoice::Accept, HandOffChoice::Translate] {
        let mut peer = Peer::new(choice);
        peer.shake_hands::<Modern>();
        peer.machine.drain(0, DrainedPort::ALL);
        peer.send::<Modern>(flags::ACK, &[LINE, b"GET /"].concat());
        let kind = peer.machine.socket(peer.ends.0, peer.ends.1, Socket::kind);
        assert_eq!(kind, Some(Kind::Connected), "{choice:?}");
        assert_eq!(peer.received().as_deref(), Some(&b"GET /"[..]), "{choice:?}");
    }
}

#[test]
fn a_source_that_is_not_trusted_gets_what_its_listener_says() {
    let mut peer = Peer::new(HandOffChoice::Auto);
    peer.machine.drain(0, DrainedPort::ALL);
    peer.ends.0 = endpoint("203.0.113.9:40000");
    assert_eq!(fate_of_syn::<Modern>(&mut peer), Fate::Passed);
}
