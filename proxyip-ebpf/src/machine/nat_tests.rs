//! NAT: a port whose connections are redirected is left alone, its headers in place.

use proxyip_common::{
    address::Endpoint,
    counter::{Counter, Obstacle},
    flow::HandOff,
    nat::Redirected,
    settings::HandOffChoice,
};

use super::{
    conversation::{
        ACCEPT, BASIC, Conversation, LINUX, OBSERVE, QUESTION, TRANSLATE, Way, ends4, ends6,
    },
    headers::{self, CLIENT},
};
use crate::host::{
    sockets::{Kind, Socket},
    wire::flags,
};

const ONLY: Way = Way { name: "accept only", choice: HandOffChoice::Accept, ..ACCEPT };
const WAYS: [Way; 4] = [ACCEPT, TRANSLATE, BASIC, OBSERVE];
/// The sidecar's port.
const SIDECAR: u16 = 15_006;

fn stream() -> Vec<u8> {
    [headers::v2(), QUESTION.to_vec()].concat()
}

/// The same end with the sidecar's port.
fn sidecar(local: Endpoint) -> Endpoint {
    match local.v4() {
        Some(address) => Endpoint::from_v4(address, SIDECAR.to_be_bytes()),
        None => Endpoint::from_v6(local.address(), SIDECAR.to_be_bytes()),
    }
}

/// A host on which a sidecar listens too, and both listen when a rule redirects the guarded port to it.
fn redirected(way: Way, ends: (Endpoint, Endpoint)) -> Conversation {
    let mut peer = Conversation::new(way, ends);
    peer.machine.listen(SIDECAR, false);
    peer.machine.change_nat(Some((443, SIDECAR)));
    peer
}

/// Opens and uses a connection, which must come to the sidecar, whole.
fn expect_left_alone(peer: &mut Conversation) {
    let what = peer.way.name;
    let (from, to) = peer.ends;
    let mut syn = peer.segment(-1, flags::SYN, b"");
    (syn.acknowledgment, syn.options) = (0, LINUX.to_vec());
    let [answer] = &peer.exchange(&syn)[..] else { panic!("{what}: one SYN-ACK") };
    peer.acknowledgment = answer.sequence.wrapping_add(1);
    assert_eq!(peer.send(0, flags::ACK, b""), [], "{what}");
    let bytes = stream();
    peer.send_range(&bytes, 0..20);
    peer.send_range(&bytes, 20..bytes.len());
    let read = |socket: &Socket| (socket.kind(), socket.received.clone());
    let found = peer.machine.socket(from, sidecar(to), read);
    assert_eq!(found, Some((Kind::Connected, bytes)), "{what}");
    assert_eq!(peer.machine.socket(from, to, Socket::kind), None, "{what}");
    assert_eq!((peer.count(Counter::HandedOver), peer.drops()), (0, vec![]), "{what}");
}

#[test]
fn connections_to_a_port_that_is_redirected_are_left_alone() {
    for way in WAYS {
        for ends in [ends4(), ends6()] {
            let mut peer = redirected(way, ends);
            for number in 1..4 {
                expect_left_alone(&mut peer);
                assert_eq!(peer.machine.left(Obstacle::Redirected), number, "{}", way.name);
                // Its end too is the sidecar's.
                let end = i32::try_from(stream().len()).unwrap();
                peer.send(end, flags::RST | flags::ACK, b"");
                peer.begin_anew();
            }
        }
    }
}

/// Also while the next is looked at, a minute later, and whatever has been forgotten of it.
#[test]
fn a_connection_that_is_left_alone_stays_so() {
    for way in WAYS {
        let mut peer = redirected(way, ends4());
        expect_left_alone(&mut peer);
        let first = (peer.start, peer.acknowledgment);
        peer.wait(2 * Redirected::LIFE_NS);
        let end = i32::try_from(stream().len()).unwrap();
        let answers = peer.send(end, flags::ACK, b"more");
        assert!(answers.iter().all(|answer| answer.flags & flags::RST == 0), "{}", way.name);
        assert_eq!(
            peer.machine.socket(peer.ends.0, sidecar(peer.ends.1), |socket| {
                socket.received.ends_with(b"more")
            }),
            Some(true)
        );
        assert_eq!((peer.start, peer.acknowledgment), first);
    }
}

/// The kernel would take the request socket off the segment.
#[test]
fn no_connection_is_accepted_where_there_is_nat() {
    for ends in [ends4(), ends6()] {
        let mut peer = Conversation::new(ACCEPT, ends);
        peer.machine.change_nat(Some((80, SIDECAR)));
        peer.way = Way { hand_off: HandOff::Translate, ..ACCEPT };
        peer.open(LINUX);
        peer.send_range(&stream(), 0..stream().len());
        peer.assert_served(CLIENT, QUESTION);
        assert_eq!(peer.machine.left(Obstacle::Redirected), 0);
        let mut peer = Conversation::new(ONLY, ends);
        peer.machine.change_nat(None);
        peer.syn(LINUX);
        assert_eq!(peer.machine.left(Obstacle::Nat), 1);
    }
}

#[test]
fn a_rule_that_comes_or_goes_counts_at_once() {
    for way in [ACCEPT, TRANSLATE] {
        let mut peer = Conversation::new(way, ends4());
        peer.machine.listen(SIDECAR, false);
        for _ in 0..2 {
            peer.machine.change_nat(None);
            peer.way = Way { hand_off: HandOff::Translate, ..way };
            peer.open(LINUX);
            peer.send_range(&stream(), 0..stream().len());
            peer.assert_served(CLIENT, QUESTION);
            peer.machine.forget(peer.ends.0, peer.ends.1);
            peer.begin_anew();
            peer.machine.change_nat(Some((443, SIDECAR)));
            let handed_over = peer.count(Counter::HandedOver);
            let mut syn = peer.segment(-1, flags::SYN, b"");
            (syn.acknowledgment, syn.options) = (0, LINUX.to_vec());
            let answer = peer.exchange(&syn).remove(0);
            peer.acknowledgment = answer.sequence.wrapping_add(1);
            peer.send_range(&stream(), 0..stream().len());
            let (from, to) = (peer.ends.0, sidecar(peer.ends.1));
            let received = peer.machine.socket(from, to, |socket| socket.received.clone());
            assert_eq!(received, Some(stream()), "{}", way.name);
            assert_eq!(peer.count(Counter::HandedOver), handed_over);
            peer.machine.forget(from, to);
            peer.begin_anew();
        }
    }
}
