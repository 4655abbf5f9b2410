//! What the program at XDP leaves alone, because TC knows more. None of it is counted at XDP, or changed.

use proxyip_common::{
    address::Endpoint,
    counter::{Counter, Obstacle},
    settings::{Fallback, HandOffChoice, ListenerSettings, PlacedPort},
};

use super::{
    NAMESPACE_COOKIE,
    conversation::{Conversation, LINUX, OBSERVE, SECOND, TRANSLATE, ends4, ends6},
    endpoint, headers,
    xdp_tests::{seen, syn},
};
use crate::hooks::xdp;
use crate::host::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
    frame::{Checksum, Frame},
    programs::XdpContext,
    sockets::Kind,
    wire::flags,
};

/// What XDP says of these bytes.
fn verdict(bytes: &[u8]) -> u32 {
    verdict_at_hand(bytes, bytes.len())
}

/// The same, if only so many bytes are in the first buffer.
fn verdict_at_hand(bytes: &[u8], at_hand: usize) -> u32 {
    let mut frame = Frame::new(bytes.to_vec(), at_hand, Checksum::None);
    xdp::run(&XdpContext::of(&mut frame))
}

/// A load balancer whose next SYN would be answered.
fn ready(ends: (Endpoint, Endpoint)) -> Conversation {
    let peer = seen(ends);
    assert_eq!(verdict(&syn(&peer, LINUX).frame()), XDP_TX);
    peer
}

/// A load balancer whose next bare ACK would be dropped, and that ACK.
fn acknowledging(ends: (Endpoint, Endpoint)) -> (Conversation, Vec<u8>) {
    let mut peer = ready(ends);
    peer.syn(LINUX);
    let ack = peer.segment(0, flags::ACK, b"").frame();
    assert_eq!(verdict(&ack), XDP_DROP);
    (peer, ack)
}

#[test]
fn other_segments_pass() {
    for ends in [ends4(), ends6()] {
        let (peer, _) = acknowledging(ends);
        for set in [
            flags::RST,
            flags::FIN,
            flags::RST | flags::ACK,
            flags::FIN | flags::ACK,
            flags::SYN | flags::ACK,
            flags::SYN | flags::FIN,
            flags::SYN | flags::RST,
            flags::ACK | flags::ECE,
            0,
        ] {
            assert_eq!(verdict(&peer.segment(0, set, b"").frame()), XDP_PASS, "{set:#x}");
        }
        for (set, payload) in
            [(flags::ACK, &b"P"[..]), (flags::SYN, b"P"), (flags::ACK, &headers::v2())]
        {
            assert_eq!(verdict(&peer.segment(0, set, payload).frame()), XDP_PASS, "{payload:?}");
        }
        // Neither the cookie nor what follows it.
        for offset in [-1, 1, 1000] {
            assert_eq!(
                verdict(&peer.segment(offset, flags::ACK, b"").frame()),
                XDP_PASS,
                "{offset}"
            );
        }
    }
}

#[test]
fn what_is_not_plain_passes() {
    let peer = ready(ends4());
    let plain = syn(&peer, LINUX).frame();
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = plain.clone();
        change(&mut bytes);
        verdict(&bytes)
    };
    assert_eq!(changed(&|_| ()), XDP_TX);
    assert_eq!(changed(&|frame| frame[20] = 0x20), XDP_PASS, "a first fragment");
    assert_eq!(changed(&|frame| frame[21] = 1), XDP_PASS, "a later fragment");
    assert_eq!(changed(&|frame| frame[14] = 0x46), XDP_PASS, "IP options");
    assert_eq!(changed(&|frame| frame[23] = 17), XDP_PASS, "UDP");
    assert_eq!(changed(&|frame| frame[50] ^= 1), XDP_PASS, "a wrong checksum");
    assert_eq!(changed(&|frame| frame[17] -= 4), XDP_PASS, "TCP header longer than the packet");
    assert_eq!(changed(&|frame| frame[46] = 0x40), XDP_PASS, "a TCP header that is too short");
    assert_eq!(changed(&|frame| drop(frame.splice(12..12, [0x81, 0, 0, 5]))), XDP_PASS, "VLAN 5");
    assert_eq!(
        changed(&|frame| drop(frame.splice(12..12, [0x81, 0, 0, 0, 0x81, 0, 0, 0]))),
        XDP_PASS,
        "two tags"
    );
    for at_hand in [0, 14, 17, 30, 34, 37, 53] {
        assert_eq!(verdict_at_hand(&plain, at_hand), XDP_PASS, "{at_hand} bytes at hand");
    }
    // All that is behind the TCP header may be elsewhere.
    assert_eq!(verdict_at_hand(&plain, 54), XDP_TX);
    for length in 14..plain.len() - 1 {
        assert_eq!(verdict(&plain[..length]), XDP_PASS, "{length} bytes");
    }
    let peer = ready(ends6());
    let mut extended = syn(&peer, LINUX).frame();
    extended[20] = 60;
    extended.splice(54..54, [6, 0, 1, 4, 0, 0, 0, 0]);
    extended[19] += 8;
    assert_eq!(verdict(&extended), XDP_PASS, "an extension header");
}

#[test]
fn other_machines_on_the_link_are_not_answered() {
    for ends in [ends4(), ends6()] {
        let (peer, ack) = acknowledging(ends);
        let syn = syn(&peer, LINUX).frame();
        for frame in [syn, ack] {
            for at in [5, 11] {
                let mut changed = frame.clone();
                changed[at] ^= 0x40;
                assert_eq!(verdict(&changed), XDP_PASS, "byte {at}");
            }
            let mut to_a_group = frame;
            to_a_group[0] |= 1;
            assert_eq!(verdict(&to_a_group), XDP_PASS);
        }
    }
}

/// A story after which both a SYN and a bare ACK pass.
type Change = fn(&mut Conversation);

#[test]
fn where_tc_does_something_else_both_pass() {
    let changes: &[(&str, Change)] = &[
        ("no longer trusted", |peer| {
            peer.machine.trust(0, peer.ends.0, 128, false);
        }),
        ("no longer guarded", |peer| peer.machine.unguard(443)),
        ("retired", |peer| peer.machine.retire(443)),
        ("held", |peer| peer.machine.hold(443)),
        ("MPTCP", |peer| peer.machine.listen(443, true)),
        ("nobody listens", |peer| {
            peer.machine.adjust(|state| drop(state.sockets.listening.remove(&443)));
        }),
        ("in TIME_WAIT", |peer| peer.machine.occupy(peer.ends.0, peer.ends.1, Kind::TimeWait)),
        ("a request socket", |peer| peer.machine.occupy(peer.ends.0, peer.ends.1, Kind::Request)),
        ("connected", |peer| peer.machine.occupy(peer.ends.0, peer.ends.1, Kind::Connected)),
    ];
    for ends in [ends4(), ends6()] {
        for (what, change) in changes {
            let (mut peer, ack) = acknowledging(ends);
            let before = Counter::ALL.iter().map(|one| peer.count(*one)).collect::<Vec<_>>();
            change(&mut peer);
            let verdicts = [verdict(&syn(&peer, LINUX).frame()), verdict(&ack)];
            assert_eq!(verdicts, [XDP_PASS, XDP_PASS], "{what}");
            let after = Counter::ALL.iter().map(|one| peer.count(*one)).collect::<Vec<_>>();
            assert_eq!((before, peer.drops()), (after, vec![]), "{what}");
        }
    }
}

#[test]
fn syns_that_are_not_answered_pass() {
    let changes: &[(&str, Change)] = &[
        ("translate", |peer| peer.configure(TRANSLATE)),
        ("observe", |peer| peer.configure(OBSERVE)),
        ("drained", |peer| peer.machine.drain(0, 443)),
        ("NAT", |peer| peer.machine.change_nat(None)),
        ("a full accept queue", |peer| {
            peer.machine.listener(443, |socket| (socket.backlog, socket.max_backlog) = (2, 1));
        }),
        ("for another host", |peer| peer.machine.adjust(|state| state.route = 0)),
        ("the stack refuses", |peer| {
            peer.set_rules(ListenerSettings::FALLS_BACK);
            let fallback = Fallback::new(1000 * SECOND, Obstacle::StackRefuses as u8);
            peer.machine.fall_back(PlacedPort::new(NAMESPACE_COOKIE, 443), fallback);
        }),
    ];
    for (what, change) in changes {
        let mut peer = ready(ends4());
        assert_eq!(peer.way.choice as u8, HandOffChoice::Auto as u8);
        change(&mut peer);
        assert_eq!(verdict(&syn(&peer, LINUX).frame()), XDP_PASS, "{what}");
    }
    let peer = ready(ends4());
    let signed = [2, 4, 5, 180, 1, 1, 19, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(verdict(&syn(&peer, &signed).frame()), XDP_PASS, "signed");
    let mut partial = Frame::new(syn(&peer, LINUX).frame(), 300, Checksum::Partial);
    assert_eq!(xdp::run(&XdpContext::of(&mut partial)), XDP_PASS, "never on a wire");
}

#[test]
fn bare_acks_within_a_header_pass() {
    let (mut peer, ack) = acknowledging(ends4());
    peer.send_range(&headers::v2(), 0..20);
    assert_eq!(verdict(&ack), XDP_PASS);
}

#[test]
fn other_ports_and_addresses_are_not_looked_at() {
    let mut peer = ready(ends4());
    peer.ends.1 = endpoint("10.0.1.2:444");
    assert_eq!(verdict(&syn(&peer, LINUX).frame()), XDP_PASS);
    peer.ends = ends4();
    peer.ends.0 = endpoint("192.0.2.9:40000");
    assert_eq!(verdict(&syn(&peer, LINUX).frame()), XDP_PASS);
}
