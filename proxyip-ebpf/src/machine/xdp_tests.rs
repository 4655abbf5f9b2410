//! What is answered and dropped at XDP is what TC would have sent and dropped.

use proxyip_common::{
    address::Endpoint,
    counter::Counter,
    neighbour::{Neighbour, Seen},
};

use super::{
    Fate, Machine,
    conversation::{ACCEPT, Conversation, LINUX, QUESTION, TRANSLATE, Way, ends4, ends6},
    headers::{self, CLIENT},
};
use crate::host::{
    frame::{Checksum, Frame, INTERFACE},
    wire::{Segment, flags},
};
use crate::{
    kernel::platform::Modern,
    state::{handshakes::HANDSHAKES, neighbours::NEIGHBOURS},
};

/// The program at XDP stands in front.
pub(super) const AT_XDP: Way = Way { receive: Machine::receive_at_xdp::<Modern>, ..ACCEPT };

/// Answered at XDP, held back there.
fn counts(peer: &Conversation) -> [u64; 4] {
    [
        Counter::SynAnswered,
        Counter::SynAnsweredAtXdp,
        Counter::AckDeferred,
        Counter::AckDeferredAtXdp,
    ]
    .map(|counter| peer.count(counter))
}

/// A load balancer whose way back has just been seen.
pub(super) fn seen(ends: (Endpoint, Endpoint)) -> Conversation {
    let mut peer = Conversation::new(AT_XDP, ends);
    peer.at_hand = 300;
    let first = peer.syn(LINUX);
    assert_eq!(peer.fates, [Fate::Sent]);
    assert_eq!(counts(&peer), [1, 0, 0, 0], "nobody knew the neighbour");
    assert_eq!(first.flags, flags::SYN | flags::ACK);
    peer
}

/// The frame of a SYN with these options.
pub(super) fn syn(peer: &Conversation, options: &[u8]) -> Segment {
    let mut syn = peer.segment(0, flags::SYN, b"");
    (syn.sequence, syn.acknowledgment) = (peer.start.wrapping_sub(1), 0);
    syn.options = options.to_vec();
    syn
}

#[test]
fn an_answer_is_the_same_as_at_tc() {
    for ends in [ends4(), ends6()] {
        for options in [LINUX, &[], &[2, 4, 5, 180], &[2, 4, 5, 180, 1, 3, 3, 7], &[4, 2, 1, 1]] {
            for flag in [0, flags::ECE | flags::CWR] {
                let mut peer = seen(ends);
                let mut syn = syn(&peer, options);
                syn.flags |= flag;
                let frames: Vec<_> = [ACCEPT, AT_XDP]
                    .into_iter()
                    .map(|way| {
                        peer.way = way;
                        let frame = Frame::new(syn.frame(), 300, Checksum::Complete);
                        assert_eq!(peer.receive(frame), [Fate::Sent]);
                        let [sent] = &peer.machine.sent()[..] else { panic!("one answer") };
                        sent.on_the_wire()
                    })
                    .collect();
                let [at_tc, at_xdp] = &frames[..] else { panic!("two") };
                let (whole, padding) = at_xdp.split_at(at_tc.len());
                assert_eq!(whole, at_tc, "options {options:?}");
                assert!(at_xdp.len() >= 60 && padding.iter().all(|byte| *byte == 0));
                assert_eq!(counts(&peer), [3, 1, 0, 0]);
            }
        }
    }
}

#[test]
fn a_connection_is_served_whose_handshake_was_made_at_xdp() {
    for ends in [ends4(), ends6()] {
        let mut peer = seen(ends);
        peer.begin_anew();
        peer.open(LINUX);
        assert_eq!(peer.fates, [Fate::Dropped]);
        assert_eq!(counts(&peer), [2, 1, 1, 1]);
        let first = [headers::v2(), QUESTION.to_vec()].concat();
        peer.send_range(&first, 0..first.len());
        peer.assert_served(CLIENT, QUESTION);
    }
}

#[test]
fn it_may_come_and_go_within_a_handshake() {
    for (first, second) in [(AT_XDP, ACCEPT), (ACCEPT, AT_XDP)] {
        let mut peer = seen(ends4());
        peer.begin_anew();
        peer.way = first;
        peer.syn(LINUX);
        peer.way = second;
        assert_eq!(peer.send(0, flags::ACK, b""), []);
        assert_eq!(peer.fates, [Fate::Dropped]);
        let [_, syn, _, ack] = counts(&peer);
        assert_eq!(syn + ack, 1, "one of both at XDP");
        let first = [headers::v2(), QUESTION.to_vec()].concat();
        peer.send_range(&first, 0..first.len());
        peer.assert_served(CLIENT, QUESTION);
    }
}

#[test]
fn a_tag_that_only_gives_a_priority_comes_back() {
    for tag in [[0x81, 0, 0, 0], [0x81, 0, 0xe0, 0], [0x88, 0xa8, 0, 0]] {
        let mut peer = seen(ends4());
        let mut bytes = syn(&peer, LINUX).frame();
        bytes.splice(12..12, tag);
        assert_eq!(peer.receive(Frame::new(bytes, 300, Checksum::None)), [Fate::Sent]);
        let [sent] = &peer.machine.sent()[..] else { panic!("one answer") };
        let mut sent = sent.on_the_wire();
        assert_eq!(sent.drain(12..16).collect::<Vec<_>>(), tag);
        let answer = Segment::read(&sent, true).expect("a whole segment, its checksums right");
        assert_eq!(answer.flags, flags::SYN | flags::ACK);
        assert_eq!(counts(&peer), [2, 1, 0, 0]);
    }
}

#[test]
fn a_way_back_is_seen_again_when_it_is_old() {
    let mut peer = seen(ends4());
    peer.wait(Seen::LIFE_NS - 1);
    peer.syn(LINUX);
    assert_eq!(counts(&peer), [2, 1, 0, 0]);
    peer.wait(1);
    peer.syn(LINUX);
    assert_eq!(counts(&peer), [3, 1, 0, 0], "too old");
    peer.syn(LINUX);
    assert_eq!(counts(&peer), [4, 2, 0, 0], "seen again");
}

#[test]
fn a_way_back_is_not_written_at_each_answer() {
    let mut peer = seen(ends4());
    let neighbour = Neighbour { namespace: 0, interface: INTERFACE, address: peer.ends.0.words() };
    // SAFETY: read at once.
    let written = || unsafe { *NEIGHBOURS.get_ptr(neighbour).expect("seen") }.at_ns;
    let first = written();
    peer.way = ACCEPT;
    peer.wait(Seen::LIFE_NS / 2 - 1);
    peer.syn(LINUX);
    assert_eq!(written(), first);
    peer.wait(1);
    peer.syn(LINUX);
    assert_eq!(written(), first + Seen::LIFE_NS / 2);
}

#[test]
fn a_bare_ack_that_was_never_on_a_wire_is_held_back() {
    let mut peer = seen(ends4());
    peer.syn(LINUX);
    let ack = peer.segment(0, flags::ACK, b"").frame();
    assert_eq!(peer.receive(Frame::new(ack, 300, Checksum::Partial)), [Fate::Dropped]);
    assert_eq!(counts(&peer), [2, 1, 1, 1]);
}

#[test]
fn what_a_failing_helper_leaves_undone_is_done_at_tc() {
    let mut fates = Vec::new();
    for failure in 1..6 {
        let mut peer = seen(ends4());
        let frame = Frame::new(syn(&peer, &[2, 4, 5, 180]).frame(), 300, Checksum::Complete);
        peer.machine.adjust(|state| state.failure = failure);
        let before = counts(&peer)[0];
        fates.push((peer.receive(frame), counts(&peer)[0] - before, peer.machine.sent().len()));
    }
    // The length, both times that bytes are written, and nothing more.
    let sent = (vec![Fate::Sent], 1, 1);
    let dropped = (vec![Fate::Dropped], 0, 0);
    assert_eq!(fates, [sent.clone(), dropped.clone(), dropped, sent.clone(), sent]);
}

#[test]
fn what_a_translated_connection_has_left_is_cleared_away() {
    let mut peer = seen(ends4());
    peer.configure(TRANSLATE);
    peer.begin_anew();
    peer.send(-1, flags::SYN, b"");
    assert_eq!(HANDSHAKES.count(), 1);
    let (from, to) = peer.ends;
    peer.machine.forget(from, to);
    peer.configure(AT_XDP);
    peer.begin_anew();
    peer.syn(LINUX);
    assert_eq!(counts(&peer)[1], 1);
    assert_eq!(HANDSHAKES.count(), 0);
}
