//! Connections from a port that an earlier handshake had: nothing that it has left behind counts for them.

use proxyip_common::{
    counter::DropReason,
    settings::{HandOffChoice, Policy, Untrusted},
};

use super::{
    conversation::{ACCEPT, BASIC, Conversation, LINUX, OBSERVE, QUESTION, TRANSLATE, Way, ends4},
    endpoint, headers,
};
use crate::host::{
    sockets::{Kind, Socket},
    wire::{Segment, flags},
};

const WAYS: [Way; 4] = [ACCEPT, TRANSLATE, BASIC, OBSERVE];
/// What an initial sequence number may lie ahead of the last one: by as much as in a moment, or in a minute.
const AHEAD: [u32; 2] = [1_000_000, 0x5000_0000];

/// How far an earlier connection has come.
#[derive(Clone, Copy, Debug)]
enum Left {
    Syn,
    Handshake,
    /// A part of its header has come.
    Part,
}

const LEFT: [Left; 3] = [Left::Syn, Left::Handshake, Left::Part];

/// A version 2 header, and the first words behind it.
fn stream() -> Vec<u8> {
    [headers::v2(), QUESTION.to_vec()].concat()
}

/// What a SYN leads to.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Connection,
    Reset,
    Nothing,
}

/// A load balancer that has left a handshake behind.
fn leave(way: Way, left: Left) -> Conversation {
    let mut peer = Conversation::new(way, ends4());
    peer.syn(LINUX);
    if !matches!(left, Left::Syn) {
        peer.send(0, flags::ACK, b"");
    }
    if matches!(left, Left::Part) {
        peer.send_range(&stream(), 0..5);
    }
    peer
}

/// The kernel gives the handshake up.
fn give_up(peer: &mut Conversation) {
    if peer.machine.socket(peer.ends.0, peer.ends.1, Socket::kind) == Some(Kind::Request) {
        peer.machine.forget(peer.ends.0, peer.ends.1);
    }
}

/// The load balancer is trusted no longer.
fn distrust(peer: &mut Conversation, untrusted: Untrusted) {
    peer.machine.trust(0, endpoint("10.0.0.0:0"), 96 + 8, false);
    peer.machine.judge_by(0, Policy { untrusted: untrusted as u8, ..Policy::default() });
}

/// The next SYN from the port.
fn next_syn(peer: &mut Conversation, ahead: u32) -> Segment {
    peer.start = peer.start.wrapping_add(ahead);
    peer.acknowledgment = 0;
    let mut syn = peer.segment(-1, flags::SYN, b"");
    (syn.acknowledgment, syn.options) = (0, LINUX.to_vec());
    syn
}

/// Sends a SYN. Whoever gets another acknowledgment than that of his SYN answers with a RST, and sends it again
/// (RFC 9293 §3.10.7.3).
fn connect(peer: &mut Conversation, syn: &Segment) -> Answer {
    for _ in 0..2 {
        let answers = peer.exchange(syn);
        let [answer] = &answers[..] else { return Answer::Nothing };
        if answer.flags & flags::RST != 0 {
            return Answer::Reset;
        }
        if answer.acknowledgment == peer.start {
            peer.acknowledgment = answer.sequence.wrapping_add(1);
            return Answer::Connection;
        }
        let (from, to) = peer.ends;
        let reset = Segment::bare(from, to, answer.acknowledgment, 0, flags::RST);
        assert_eq!(peer.exchange(&reset), []);
    }
    panic!("a handshake that nothing ends");
}

/// Asserts that the application gets the whole stream of a connection that has shaken hands, and takes the source for its
/// client.
fn expect_untouched(peer: &mut Conversation, what: &str) {
    assert_eq!(peer.send(0, flags::ACK, b""), [], "{what}");
    peer.send_range(&stream(), 0..stream().len());
    assert_eq!(peer.received(), Some(stream()), "{what}");
    assert_eq!(peer.machine.records(), 0, "{what}");
}

/// Calls `see` with each earlier connection, the request socket of its handshake still there or not, and the next SYN.
fn each(see: impl Fn(&mut Conversation, &str, u32)) {
    for way in WAYS {
        for left in LEFT {
            for ahead in AHEAD {
                for gives_up in [false, true] {
                    let mut peer = leave(way, left);
                    if gives_up {
                        give_up(&mut peer);
                    }
                    let what = format!("{}, {left:?}, given up: {gives_up}", way.name);
                    see(&mut peer, &what, ahead);
                }
            }
        }
    }
}

#[test]
fn a_source_that_is_trusted_no_longer_is_bypassed() {
    each(|peer, what, ahead| {
        distrust(peer, Untrusted::Bypass);
        let syn = next_syn(peer, ahead);
        assert_eq!(connect(peer, &syn), Answer::Connection, "{what}");
        expect_untouched(peer, what);
        assert_eq!(peer.drops(), [], "{what}");
    });
}

#[test]
fn a_source_that_is_trusted_no_longer_is_refused() {
    for (untrusted, answer, reason) in [
        (Untrusted::Reset, Answer::Reset, DropReason::UntrustedReset),
        (Untrusted::Drop, Answer::Nothing, DropReason::UntrustedDropped),
    ] {
        each(|peer, what, ahead| {
            distrust(peer, untrusted);
            let syn = next_syn(peer, ahead);
            assert_eq!(connect(peer, &syn), answer, "{what}");
            assert_eq!(peer.drops(), [(reason, 1)], "{what}");
        });
    }
}

/// The agent would end the new connection when the old one's header is late.
#[test]
fn a_header_that_the_kernels_earlier_connection_has_begun_is_forgotten() {
    for way in [TRANSLATE, BASIC, OBSERVE] {
        for retires in [false, true] {
            let mut peer = leave(way, Left::Part);
            peer.machine.forget(peer.ends.0, peer.ends.1);
            if retires {
                peer.machine.retire(443);
            } else {
                distrust(&mut peer, Untrusted::Bypass);
            }
            let syn = next_syn(&mut peer, AHEAD[0]);
            assert_eq!(connect(&mut peer, &syn), Answer::Connection, "{}", way.name);
            assert_eq!(peer.machine.begun_headers(), (0, 0), "{}", way.name);
        }
    }
}

/// Its SYN may have been forged.
#[test]
fn a_header_that_has_begun_under_accept_is_kept() {
    let mut peer = leave(ACCEPT, Left::Part);
    let (start, acknowledgment) = (peer.start, peer.acknowledgment);
    let syn = next_syn(&mut peer, AHEAD[0]);
    peer.exchange(&syn);
    (peer.start, peer.acknowledgment) = (start, acknowledgment);
    peer.send_range(&stream(), 5..stream().len());
    peer.assert_served(headers::CLIENT, QUESTION);
}

#[test]
fn the_rest_of_an_unjudged_header_is_not_passed_behind_another_syn() {
    for way in [TRANSLATE, BASIC] {
        for left in LEFT {
            let mut peer = leave(way, left);
            let old = peer.segment(0, flags::ACK, &stream());
            distrust(&mut peer, Untrusted::Bypass);
            let syn = next_syn(&mut peer, AHEAD[0]);
            // The network has kept a segment while the port was given to another connection.
            peer.exchange(&syn);
            peer.exchange(&old);
            assert_eq!(peer.received(), None, "{}", way.name);
            assert_eq!(peer.drops(), [(DropReason::TrustWithdrawn, 1)], "{}", way.name);
        }
    }
}

/// The port had no listener when the next SYN came, and has one again when its handshake ends.
fn unseen(way: Way, left: Left, ahead: u32) -> Conversation {
    let mut peer = leave(way, left);
    give_up(&mut peer);
    peer.machine.unguard(443);
    let syn = next_syn(&mut peer, ahead);
    assert_eq!(connect(&mut peer, &syn), Answer::Connection, "{}", way.name);
    peer.guard_too(443);
    peer
}

#[test]
fn a_handshake_that_no_program_has_seen_begin_brings_no_header_to_the_application() {
    for way in WAYS {
        for left in LEFT {
            for ahead in AHEAD {
                let what = format!("{}, {left:?}", way.name);
                let mut peer = unseen(way, left, ahead);
                peer.send_range(&stream(), 0..stream().len());
                assert_eq!(peer.received(), None, "{what}");
            }
        }
    }
}

/// What NAT has redirected was left alone, its header unjudged.
#[test]
fn a_handshake_that_was_left_alone_does_not_leave_the_next_one_alone() {
    const SIDECAR: u16 = 15_006;
    for way in WAYS {
        for is_seen in [false, true] {
            let mut peer = Conversation::new(way, ends4());
            peer.machine.listen(SIDECAR, false);
            peer.machine.change_nat(Some((443, SIDECAR)));
            peer.syn(LINUX);
            peer.machine.adjust(|state| state.sockets.flows.clear());
            peer.machine.change_nat(None);
            if !is_seen {
                peer.machine.unguard(443);
            }
            let syn = next_syn(&mut peer, AHEAD[0]);
            assert_eq!(connect(&mut peer, &syn), Answer::Connection, "{}", way.name);
            peer.guard_too(443);
            peer.send_range(&stream(), 0..stream().len());
            match (is_seen, way.choice) {
                (false, _) => assert_eq!(peer.received(), None, "{}", way.name),
                (true, HandOffChoice::Observe) => {
                    assert_eq!(peer.received(), Some(stream()), "{}", way.name);
                    assert_eq!(peer.machine.records(), 1, "{}", way.name);
                }
                (true, _) => assert_eq!(peer.received().as_deref(), Some(QUESTION), "{}", way.name),
            }
        }
    }
}
