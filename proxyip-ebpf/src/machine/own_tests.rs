//! Connections of the load balancer's own: what they look like, and which lists apply to them.

use proxyip_common::{
    address::Endpoint,
    counter::{Counter, DropReason},
    flow::{FlowRecord, Origin},
    settings::{Denied, ListenerSettings, Policy, access},
};

use super::{
    conversation::{
        ACCEPT, BASIC, CONSUMING, Conversation, HEADER_TIMEOUT, OBSERVE, QUESTION, TRANSLATE, Way,
        ends4, ends6,
    },
    endpoint,
    headers::{self, v2_raw},
};

const WAYS: [Way; 4] = [ACCEPT, TRANSLATE, BASIC, OBSERVE];
const PEER: &str = "10.0.0.2:40000";

/// A connection to a listener with these rules, which allows one client that does not come here.
fn open(way: Way, ends: (Endpoint, Endpoint), rules: u8) -> Conversation {
    let mut peer = Conversation::new(way, ends);
    peer.set_rules(rules);
    let policy = Policy {
        denied: Denied::Reset as u8,
        otherwise: access::DENY,
        judges: 1,
        ..Policy::default()
    };
    peer.machine.judge_by(0, policy);
    peer.machine.judge(0, endpoint("198.51.100.1:0"), 128, access::ALLOW);
    peer.open(&[]);
    peer
}

/// Asserts that the connection is the load balancer's own, and that the application has read this.
fn assert_own(peer: &Conversation, header: &[u8], bytes: &[u8]) {
    let way = peer.way.name;
    let seen = if way == OBSERVE.name { [header, bytes].concat() } else { bytes.to_vec() };
    assert_eq!(peer.received(), Some(seen), "{way}");
    let record = peer.machine.record(peer.ends.0, peer.ends.1).expect("a record of the flow");
    assert_eq!(record.origin, Origin::Local as u8, "{way}");
    assert_eq!((record.client.0, record.destination.0), peer.ends, "{way}");
    assert_eq!(peer.drops(), [], "{way}");
}

#[test]
fn a_health_check_that_names_its_own_connection_passes_the_lists() {
    let v1 = b"PROXY TCP4 10.0.0.2 10.0.1.2 40000 443\r\n".to_vec();
    let v2 = v2_raw(0x21, 0x11, &[10, 0, 0, 2, 10, 0, 1, 2, 0x9c, 0x40, 1, 187]);
    let v1_of_ipv6 = b"PROXY TCP6 fd00::2 fd00:1::2 40000 443\r\n".to_vec();
    for way in WAYS {
        for (ends, header) in [(ends4(), &v1), (ends4(), &v2), (ends6(), &v1_of_ipv6)] {
            let mut peer = open(way, ends, 0);
            let stream = [&header[..], QUESTION].concat();
            peer.send_range(&stream, 0..stream.len());
            assert_own(&peer, header, QUESTION);
        }
    }
}

/// A load balancer that keeps the clients' addresses names the peer as the client, and itself as the destination.
#[test]
fn a_client_whose_address_the_load_balancer_keeps_is_judged() {
    for way in WAYS {
        for header in [
            &b"PROXY TCP4 10.0.0.2 192.0.2.1 40000 443\r\n"[..],
            b"PROXY TCP4 10.0.0.2 10.0.1.2 40000 80\r\n",
            b"PROXY TCP4 10.0.0.3 10.0.1.2 40000 443\r\n",
        ] {
            let mut peer = open(way, ends4(), 0);
            peer.send_range(header, 0..header.len());
            assert_eq!(peer.drops(), [(DropReason::DeniedReset, 1)], "{}", way.name);
        }
    }
}

#[test]
fn a_header_without_a_client_may_be_the_load_balancers_own() {
    let unknown = b"PROXY UNKNOWN\r\n".to_vec();
    let unix = v2_raw(0x21, 0x31, &[0; 216]);
    for way in WAYS {
        for header in [&unknown, &unix] {
            let stream = [&header[..], QUESTION].concat();
            let mut peer = open(way, ends4(), ListenerSettings::UNKNOWN_IS_LOCAL);
            peer.send_range(&stream, 0..stream.len());
            assert_own(&peer, header, QUESTION);
            for (rules, reason) in [
                (0, DropReason::DeniedReset),
                (ListenerSettings::REFUSE_UNKNOWN, DropReason::UnknownRefused),
            ] {
                let mut peer = open(way, ends4(), rules);
                peer.send_range(&stream, 0..stream.len());
                assert_eq!(peer.drops(), [(reason, 1)], "{}", way.name);
            }
        }
    }
}

#[test]
fn a_connection_without_a_header_may_be_the_load_balancers_own() {
    for way in WAYS {
        for question in [&b"GET / HTTP/1.0\r\n\r\n"[..], b"x", b"PROXIMA", b"\r\n\r\nGET"] {
            for ends in [ends4(), ends6()] {
                let mut peer = open(way, ends, ListenerSettings::HEADERLESS_IS_LOCAL);
                peer.send_range(question, 0..question.len());
                assert_own(&peer, b"", question);
                let more = [question, b"more"].concat();
                peer.send_range(&more, question.len()..more.len());
                assert_own(&peer, b"", &more);
            }
            let mut peer = open(way, ends4(), 0);
            peer.send_range(question, 0..question.len());
            assert_eq!(peer.drops(), [(DropReason::HeaderMissing, 1)], "{}", way.name);
        }
    }
}

/// One address sends both kinds, and the lists find the clients of headers.
#[test]
fn headers_are_read_beside_connections_without_one() {
    for way in WAYS {
        let mut peer = open(way, ends4(), ListenerSettings::HEADERLESS_IS_LOCAL);
        let stream = [headers::v2(), QUESTION.to_vec()].concat();
        peer.send_range(&stream, 0..stream.len());
        assert_eq!(peer.drops(), [(DropReason::DeniedReset, 1)], "{}", way.name);
        let mut peer = open(way, ends4(), ListenerSettings::HEADERLESS_IS_LOCAL);
        let broken = b"PROXY TCP4 nobody\r\n";
        peer.send_range(broken, 0..broken.len());
        assert_eq!(peer.drops(), [(DropReason::V1Address, 1)], "{}", way.name);
    }
}

/// The first bytes of what is no header may look like one. Their peer has to send them again, so they must not have been
/// acknowledged.
#[test]
fn first_bytes_that_may_begin_a_header_wait_for_more() {
    let question = b"\r\nGET / HTTP/1.0\r\n\r\n";
    for way in CONSUMING {
        let mut peer = open(way, ends4(), ListenerSettings::HEADERLESS_IS_LOCAL);
        assert_eq!(peer.send_range(question, 0..2), [], "{}", way.name);
        assert_eq!(peer.received(), None, "{}", way.name);
        peer.send_range(question, 2..question.len());
        // The peer sends again what was not acknowledged.
        peer.send_range(question, 0..question.len());
        assert_own(&peer, b"", question);
    }
}

#[test]
fn a_header_in_small_parts_is_acknowledged_as_soon_as_it_is_one() {
    for way in CONSUMING {
        let mut peer = open(way, ends4(), ListenerSettings::HEADERLESS_IS_LOCAL);
        let header = b"PROXY UNKNOWN\r\n";
        let stream = [&header[..], QUESTION].concat();
        peer.set_rules(ListenerSettings::HEADERLESS_IS_LOCAL | ListenerSettings::UNKNOWN_IS_LOCAL);
        for at in 0..5 {
            assert_eq!(peer.send_range(&stream, at..at + 1), [], "{}: byte {at}", way.name);
        }
        peer.send_part(&stream, 5..6, 6);
        peer.send_range(&stream, 6..stream.len());
        assert_own(&peer, header, QUESTION);
    }
}

/// A peer that waits for an acknowledgment before it goes on gets one when it sends the same bytes once more.
#[test]
fn a_peer_that_waits_for_an_acknowledgment_gets_it_the_second_time() {
    for way in CONSUMING {
        let rules = ListenerSettings::HEADERLESS_IS_LOCAL | ListenerSettings::UNKNOWN_IS_LOCAL;
        let mut peer = open(way, ends4(), rules);
        let header = b"PROXY UNKNOWN\r\n";
        let stream = [&header[..], QUESTION].concat();
        assert_eq!(peer.send_range(&stream, 0..3), [], "{}", way.name);
        peer.send_part(&stream, 0..3, 3);
        peer.send_range(&stream, 3..stream.len());
        assert_own(&peer, header, QUESTION);
        // What was acknowledged is not sent again: what follows it cannot be given to the application.
        let mut peer = open(way, ends4(), rules);
        let question = b"PRO, and more";
        peer.send_range(question, 0..3);
        peer.send_part(question, 0..3, 3);
        let answers = peer.send_range(question, 3..question.len());
        peer.expect_reset("bytes that were acknowledged", &answers);
        assert_eq!(peer.drops(), [(DropReason::HeaderMissing, 1)], "{}", way.name);
        peer.wait(HEADER_TIMEOUT);
        assert_eq!(peer.received(), None);
    }
}

#[test]
fn a_header_of_a_proxy_of_datagrams_says_so() {
    for way in WAYS {
        for (family, datagram) in [(0x11, false), (0x12, true)] {
            let header = v2_raw(0x21, family, &[203, 0, 113, 9, 192, 0, 2, 1, 0xc8, 0x22, 1, 187]);
            let mut peer = Conversation::opened(way);
            peer.send_range(&header, 0..header.len());
            let record = peer.machine.record(peer.ends.0, peer.ends.1).expect("a record");
            assert_eq!(record.has(FlowRecord::DATAGRAM), datagram, "{}", way.name);
            assert_eq!(record.client.0, endpoint(headers::CLIENT), "{}", way.name);
            assert_ne!(endpoint(PEER), record.client.0);
            assert_eq!(peer.count(Counter::HandedOver), 1);
        }
    }
}
