//! Clients that a listener denies: what else their peers send, in parts or again, and on the same port.

use proxyip_common::{
    counter::{Counter, DropReason},
    settings::{Denied, Policy, access},
};

use super::{
    Fate,
    conversation::{
        ACCEPT, BASIC, CONSUMING, Conversation, OBSERVE, QUESTION, TRANSLATE, Way, ends4,
    },
    endpoint,
    headers::{self, CLIENT, v2_raw},
};
use crate::host::wire::flags;

/// Every way to the application.
const WAYS: [Way; 4] = [ACCEPT, TRANSLATE, BASIC, OBSERVE];

/// The refusals that `denied` can mean.
const REFUSALS: [(Denied, DropReason); 2] =
    [(Denied::Reset, DropReason::DeniedReset), (Denied::Drop, DropReason::DeniedDropped)];

/// A version 2 header, and the first words behind it.
fn stream() -> Vec<u8> {
    [headers::v2(), QUESTION.to_vec()].concat()
}

/// Lets the listener judge: clients that no network has are allowed or not.
fn judge(peer: &mut Conversation, denied: Denied, otherwise: u8) {
    let policy = Policy { denied: denied as u8, otherwise, judges: 1, ..Policy::default() };
    peer.machine.judge_by(0, policy);
}

/// A connection to a listener that denies the client of [`headers::v2`]; its header is still to come.
fn open(way: Way, denied: Denied) -> Conversation {
    let mut peer = Conversation::new(way, ends4());
    judge(&mut peer, denied, access::ALLOW);
    peer.machine.judge(0, endpoint("203.0.113.9:0"), 128, access::DENY);
    peer.open(&[]);
    peer
}

/// Asserts that the program has nothing of the connection.
fn assert_nothing(peer: &Conversation, what: &str) {
    let way = peer.way.name;
    assert_eq!((peer.received(), peer.machine.records()), (None, 0), "{way}, {what}");
    let opened = [Counter::HandedOver, Counter::Established].map(|counter| peer.count(counter));
    assert_eq!(opened, [0, 0], "{way}, {what}");
}

#[test]
fn a_first_segment_that_comes_again_is_reset_again() {
    for way in WAYS {
        let mut peer = open(way, Denied::Reset);
        for time in 1..=3 {
            let answers = peer.send_range(&stream(), 0..stream().len());
            assert!(answers.iter().any(|answer| answer.flags & flags::RST != 0), "{}", way.name);
            assert_nothing(&peer, "the first segment");
            assert_eq!(peer.drops(), [(DropReason::DeniedReset, time)], "{}", way.name);
        }
    }
}

/// Its FIN acknowledges the handshake, too.
#[test]
fn a_dropped_connection_is_told_of_once_and_never_established() {
    for way in WAYS {
        let mut peer = open(way, Denied::Drop);
        let end = stream().len();
        for again in 0..4 {
            let answers = peer.send_range(&stream(), 0..end);
            assert_eq!((answers, &peer.fates[..]), (vec![], &[Fate::Dropped][..]), "{}", way.name);
            assert_eq!(peer.count(Counter::DeniedAgain), again, "{}", way.name);
        }
        let answers = peer.send(end as i32, flags::FIN | flags::ACK, b"");
        assert_eq!((answers, &peer.fates[..]), (vec![], &[Fate::Dropped][..]), "{}", way.name);
        assert_nothing(&peer, "the end");
        assert_eq!(peer.drops(), [(DropReason::DeniedDropped, 1)], "{}", way.name);
    }
}

#[test]
fn a_split_header_is_refused_when_its_client_is_known() {
    for way in CONSUMING {
        for (denied, reason) in REFUSALS {
            let mut peer = open(way, denied);
            peer.send_part(&stream(), 0..20, 20);
            for again in 0..3 {
                let answers = peer.send_range(&stream(), 20..stream().len());
                if denied == Denied::Reset {
                    peer.expect_reset("the rest", &answers);
                    assert_eq!(peer.count(Counter::ResetAgain), again);
                } else {
                    assert_eq!(answers, []);
                    assert_eq!(peer.count(Counter::DeniedAgain), again);
                }
                assert_nothing(&peer, "the rest");
                assert_eq!(peer.drops(), [(reason, 1)], "{}", way.name);
            }
        }
    }
}

#[test]
fn the_same_port_is_judged_anew() {
    for way in WAYS {
        for (denied, reason) in REFUSALS {
            let mut peer = open(way, denied);
            peer.send_range(&stream(), 0..stream().len());
            assert_nothing(&peer, "before");
            // The load balancer gives up without a word.
            peer.machine.judge(0, endpoint("203.0.113.9:0"), 128, access::ALLOW);
            peer.machine.forget(peer.ends.0, peer.ends.1);
            peer.begin_anew();
            peer.open(&[]);
            peer.send_range(&stream(), 0..stream().len());
            let header: &[u8] = &headers::v2();
            let seen = if way.name == OBSERVE.name { header } else { b"" };
            peer.assert_served(CLIENT, &[seen, QUESTION].concat());
            peer.send(stream().len() as i32, flags::RST, b"");
            assert_eq!(peer.received(), None, "{}", way.name);

            peer.machine.judge(0, endpoint("203.0.113.9:0"), 128, access::DENY);
            peer.begin_anew();
            peer.open(&[]);
            peer.send_range(&stream(), 0..stream().len());
            assert_eq!((peer.received(), peer.machine.records()), (None, 0), "{}", way.name);
            assert_eq!(peer.drops(), [(reason, 2)], "{}", way.name);
        }
    }
}

#[test]
fn the_smallest_network_counts() {
    for way in WAYS {
        for (networks, allowed) in [
            (&[("203.0.0.0:0", 96 + 8, access::DENY)][..], false),
            (&[("203.0.0.0:0", 104, access::DENY), ("203.0.113.0:0", 120, access::ALLOW)], true),
            (&[("203.0.113.0:0", 120, access::ALLOW), ("203.0.113.9:0", 128, access::DENY)], false),
            (&[("203.0.113.8:0", 128, access::DENY)], true),
        ] {
            let mut peer = Conversation::new(way, ends4());
            judge(&mut peer, Denied::Reset, access::ALLOW);
            for (network, bits, verdict) in networks {
                peer.machine.judge(0, endpoint(network), *bits, *verdict);
            }
            peer.open(&[]);
            peer.send_range(&stream(), 0..stream().len());
            assert_eq!(peer.received().is_some(), allowed, "{}, {networks:?}", way.name);
        }
    }
}

/// Headers that name no client are judged as clients on no list, and health checks are not.
#[test]
fn headers_without_a_client_are_judged_as_clients_on_no_list() {
    let checks = [v2_raw(0x20, 0, &[]), v2_raw(0x20, 0x11, &[0; 84])];
    let unix = v2_raw(0x21, 0x31, &[0; 216]);
    let unknown = [v2_raw(0x21, 0, &[]), b"PROXY UNKNOWN\r\n".to_vec(), unix];
    for (way, otherwise) in
        WAYS.into_iter().flat_map(|way| [(way, access::ALLOW), (way, access::DENY)])
    {
        let known = unknown.iter().map(|header| (header, otherwise == access::ALLOW));
        for (header, passes) in checks.iter().map(|header| (header, true)).chain(known) {
            let mut peer = Conversation::new(way, ends4());
            judge(&mut peer, Denied::Reset, otherwise);
            peer.open(&[]);
            peer.send_range(header, 0..header.len());
            let what = format!("{}, {otherwise}, {header:?}", way.name);
            assert_eq!(peer.received().is_some(), passes, "{what}");
            let refused = (!passes).then_some((DropReason::DeniedReset, 1));
            assert_eq!(peer.drops(), refused.into_iter().collect::<Vec<_>>(), "{what}");
        }
    }
}

/// Neither the old lists nor the new let the client of a source in that is trusted no longer.
#[test]
fn a_handshake_whose_source_has_lost_its_trust_comes_to_nothing() {
    for way in WAYS {
        let mut peer = open(way, Denied::Reset);
        peer.machine.judge(0, endpoint("203.0.113.9:0"), 128, access::ALLOW);
        peer.machine.trust(0, endpoint("10.0.0.2:0"), 128, false);
        peer.send_range(&stream(), 0..stream().len());
        assert_nothing(&peer, "the header");
    }
}
