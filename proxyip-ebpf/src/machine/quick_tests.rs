//! The quick way changes nothing but the cost: whether a frame can take it or not, the same happens.

use proxyip_common::{
    address::Endpoint,
    counter::{Counter, DropReason},
    settings::{Denied, ListenerSettings, Policy, access},
};

use super::{
    Fate,
    conversation::{
        ACCEPT, BASIC, Conversation, LINUX, OBSERVE, QUESTION, TRANSLATE, Way, ends4, ends6,
    },
    endpoint, headers,
};
use crate::{
    decide::quick::{Outgoing, Quick, look, look_out},
    host::{
        frame::{Checksum, Frame},
        programs::TcContext,
        sockets::{Kind, Socket},
        wire::{Segment, flags},
    },
    kernel::platform::Modern,
    state::in_use::{self, set_used},
};

const WAYS: [Way; 4] = [ACCEPT, TRANSLATE, BASIC, OBSERVE];

/// How many bytes are at hand: too few for anything, enough for ports, for flags, for some payload, for all.
const AT_HAND: [usize; 6] = [14, 38, 54, 58, 78, 300];

/// What happened to the frames that one frame caused, and the mark of each.
type Fates = Vec<(Fate, u32)>;

/// What a story has led to.
#[derive(Debug, PartialEq)]
struct End {
    answers: Vec<(u8, u32, u32, Vec<u8>)>,
    fates: Vec<Fates>,
    received: Option<Vec<u8>>,
    counted: Vec<u64>,
    drops: Vec<(DropReason, u64)>,
}

/// What happened to what was sent last.
fn fates(peer: &Conversation) -> Fates {
    peer.fates.iter().copied().zip(peer.marks.iter().copied()).collect()
}

/// A connection from its SYN to what comes behind its end.
fn story(peer: &mut Conversation) -> End {
    let header = headers::v2();
    let stream = [&header[..], QUESTION].concat();
    let behind = i32::try_from(stream.len()).unwrap();
    let syn_ack = peer.open(LINUX);
    let mut answers = vec![syn_ack];
    let mut told = vec![fates(peer)];
    for (offset, flags, payload) in [
        (0, flags::ACK, &stream[..]),
        (0, flags::ACK, &stream[..]),
        (behind - 10, flags::ACK, QUESTION),
        (behind, flags::ACK, b""),
        (behind, flags::ACK, b"PROXY TCP4 is what this begins with"),
        (behind, flags::ACK, b"\r\n\r\n\0\r\nQUIT\n and so on"),
        (behind, flags::ACK, b"GET"),
        (behind, flags::SYN, b""),
        (behind, flags::ACK | flags::FIN, b"the end"),
        (behind + 8, flags::RST, b""),
        (behind, flags::ACK, b"behind the end"),
    ] {
        answers.extend(peer.send(offset, flags, payload));
        told.push(fates(peer));
    }
    let read = |it: Segment| (it.flags, it.sequence, it.acknowledgment, it.payload);
    End {
        answers: answers.into_iter().map(read).collect(),
        fates: told,
        received: peer.received(),
        counted: Counter::ALL.iter().map(|counter| peer.count(*counter)).collect(),
        drops: peer.drops(),
    }
}

/// A host in which so many bytes of each frame are at hand.
fn host(way: Way, ends: (Endpoint, Endpoint), at_hand: usize) -> Conversation {
    let mut peer = Conversation::new(way, ends);
    peer.at_hand = at_hand;
    peer.machine.adjust(|state| state.at_hand = at_hand);
    peer
}

/// Tells the same story with more and fewer bytes at hand; returns its end.
fn tell(
    what: &str,
    ends: (Endpoint, Endpoint),
    prepare: impl Fn(&mut Conversation),
    way: Way,
) -> End {
    let [first, others @ ..] = AT_HAND.map(|at_hand| {
        let mut peer = host(way, ends, at_hand);
        prepare(&mut peer);
        story(&mut peer)
    });
    for (other, at_hand) in others.iter().zip(&AT_HAND[1..]) {
        assert_eq!(*other, first, "{what}, {}, {at_hand} bytes at hand", way.name);
    }
    first
}

#[test]
fn a_connection_goes_the_same_way_however_much_is_at_hand() {
    for way in WAYS {
        for ends in [ends4(), ends6()] {
            tell("alone", ends, |_| {}, way);
            tell("beside translated ones", ends, |_| set_used(in_use::TRANSLATE), way);
        }
    }
}

#[test]
fn connections_of_denied_clients_are_marked_however_much_is_at_hand() {
    const MARK: u32 = 0x10;
    for way in WAYS {
        let deny = |peer: &mut Conversation| {
            peer.set_rules(ListenerSettings::MARKS);
            peer.machine.judge_by(
                0,
                Policy {
                    denied: Denied::Mark as u8,
                    otherwise: access::ALLOW,
                    judges: 1,
                    mark: MARK,
                    ..Policy::default()
                },
            );
            peer.machine.judge(0, endpoint("203.0.113.9:0"), 128, access::DENY);
        };
        let end = tell("denied", ends4(), deny, way);
        let marked = end.fates.iter().flatten().filter(|(_, mark)| *mark == MARK).count();
        assert!(marked > 3, "{}: {:?}", way.name, end.fates);
    }
}

#[test]
fn headers_from_others_are_noticed_however_much_is_at_hand() {
    for version in [&b"PROXY TCP4 is what this begins with"[..], b"\r\n\r\n\0\r\nQUIT\n and so on"]
    {
        for at_hand in AT_HAND {
            let stranger = (endpoint("192.0.2.7:40000"), ends4().1);
            let mut peer = host(ACCEPT, stranger, at_hand);
            peer.machine.occupy(stranger.0, stranger.1, Kind::Connected);
            peer.send(0, flags::ACK, version);
            peer.send(0, flags::ACK, b"GET / HTTP/1.1, and so on");
            assert_eq!(peer.count(Counter::UntrustedHeader), 1, "{at_hand} bytes at hand");
        }
    }
}

/// What is known early of the frame if all of it is at hand.
fn told(bytes: &[u8]) -> Quick {
    told_of(bytes, |_| {})
}

fn told_of(bytes: &[u8], change: impl FnOnce(&mut Frame)) -> Quick {
    let mut frame = Frame::new(bytes.to_vec(), bytes.len(), Checksum::None);
    change(&mut frame);
    look::<Modern>(&TcContext::new(&mut frame))
}

#[test]
fn what_is_for_nobody_here_is_told_by_its_protocol_or_port() {
    let peer = Conversation::opened(ACCEPT);
    let frame = peer.segment(0, flags::ACK, b"GET / HTTP/1.1").frame();
    let changed = |at: usize, value: u8| {
        let mut frame = frame.clone();
        frame[at] = value;
        told(&frame)
    };
    assert!(told(&frame) == Quick::Found);
    assert!(told_of(&frame, |it| it.fields().vlan_tci = 5) == Quick::Unknown, "a VLAN's");
    assert!(told_of(&frame, |it| it.fields().pkt_type = 3) == Quick::Unknown, "another host's");
    assert!(changed(23, 17) == Quick::Foreign, "UDP to the same port");
    assert!(changed(37, 80) == Quick::Foreign, "another port");
    assert!(changed(14, 0x46) == Quick::Unknown, "options, behind which the port is");
    assert!(changed(20, 0x20) == Quick::Unknown, "a first fragment");
    assert!(changed(21, 1) == Quick::Unknown, "a later fragment");
    assert!(changed(12, 0x86) == Quick::Unknown, "no IP");
    for length in 14..54 {
        assert!(told(&frame[..length]) == Quick::Unknown, "{length} bytes");
    }
}

#[test]
fn ipv6_headers_that_may_lead_to_tcp_are_walked() {
    let mut peer = Conversation::new(ACCEPT, ends6());
    peer.open(&[]);
    let frame = peer.segment(0, flags::ACK, b"GET / HTTP/1.1").frame();
    let next = |next: u8| {
        let mut frame = frame.clone();
        frame[20] = next;
        told(&frame)
    };
    assert!(next(6) == Quick::Found);
    for extension in [0, 43, 44, 60] {
        assert!(next(extension) == Quick::Unknown, "{extension}");
    }
    for other in [17, 58, 50, 51, 59, 132] {
        assert!(next(other) == Quick::Foreign, "{other}");
    }
}

#[test]
fn an_established_connection_is_known_by_its_socket() {
    for (way, used, quick) in [
        (ACCEPT, false, Quick::Established),
        (ACCEPT, true, Quick::Established),
        (TRANSLATE, true, Quick::Translated),
        (BASIC, true, Quick::Translated),
        (OBSERVE, false, Quick::Unknown),
    ] {
        let mut peer = Conversation::opened(way);
        if used {
            set_used(in_use::TRANSLATE);
        }
        let header = headers::v2();
        peer.send_range(&header, 0..header.len());
        let offset = i32::try_from(header.len()).unwrap();
        let kind = peer.machine.socket(peer.ends.0, peer.ends.1, Socket::kind);
        assert_eq!(kind, Some(Kind::Connected), "{}", way.name);
        let frame = |flags, payload| peer.segment(offset, flags, payload).frame();
        for payload in [&b""[..], b"GET", b"GET / HTTP/1.1"] {
            assert!(told(&frame(flags::ACK, payload)) == quick, "{}: {payload:?}", way.name);
        }
        assert!(told(&frame(flags::ACK | flags::FIN, b"")) == quick, "{}", way.name);
        for other in [flags::SYN, flags::RST, flags::RST | flags::ACK, flags::FIN] {
            assert!(told(&frame(other, b"")) == Quick::Unknown, "{}: {other}", way.name);
        }
        let header = told(&frame(flags::ACK, b"PROXY TCP4 "));
        assert!(header != Quick::Established, "{}: a header is noticed", way.name);
    }
}

/// What is known early of what this socket sends.
fn told_out(peer: &mut Conversation, flags: u8, at_hand: usize) -> Outgoing {
    let (local, own) = peer.ends;
    let bytes = Segment::bare(own, local, 1, 1, flags).frame();
    let socket = peer.machine.adjust(|state| state.sockets.hold(local, own));
    let mut frame = Frame::new(bytes, at_hand, Checksum::None).from_socket(socket);
    let told = look_out(&TcContext::new(&mut frame));
    frame.release_sender();
    told
}

#[test]
fn what_a_connection_sends_is_known_by_its_socket() {
    use Outgoing::{Translated, Unknown, Untranslated};
    for (way, known, reset) in [
        (ACCEPT, Untranslated, Untranslated),
        (TRANSLATE, Translated, Unknown),
        (BASIC, Translated, Unknown),
    ] {
        for ends in [ends4(), ends6()] {
            let mut peer = Conversation::new(way, ends);
            peer.open(&[]);
            let header = headers::v2();
            assert!(told_out(&mut peer, flags::ACK, 300) == Unknown, "{}", way.name);
            peer.send_range(&header, 0..header.len());
            for flags in [flags::ACK, flags::ACK | flags::FIN] {
                assert!(told_out(&mut peer, flags, 300) == known, "{}: {flags}", way.name);
            }
            for flags in [flags::RST, flags::RST | flags::ACK] {
                assert!(told_out(&mut peer, flags, 300) == reset, "{}: {flags}", way.name);
            }
            let syn_ack = flags::SYN | flags::ACK;
            assert!(told_out(&mut peer, syn_ack, 300) == Unknown, "{}", way.name);
            assert!(told_out(&mut peer, flags::ACK, 36) == Unknown, "{}: few bytes", way.name);
            peer.machine.unguard(443);
            let told = told_out(&mut peer, flags::ACK, 300);
            assert!(told == Untranslated, "{}: not guarded", way.name);
        }
    }
}

/// A peer that has sent its header, and the frame that it sends next.
fn with_header(way: Way) -> (Conversation, Vec<u8>) {
    let mut peer = Conversation::new(way, ends4());
    peer.open(&[]);
    let header = headers::v2();
    peer.send_range(&header, 0..header.len());
    let offset = i32::try_from(header.len()).unwrap();
    let frame = peer.segment(offset, flags::ACK, b"GET").frame();
    (peer, frame)
}

#[test]
fn what_is_translated_in_one_namespace_is_not_translated_in_another_one() {
    for way in [TRANSLATE, BASIC] {
        let (mut peer, frame) = with_header(way);
        assert!(told(&frame) == Quick::Translated, "{}", way.name);
        assert!(told_out(&mut peer, flags::ACK, 300) == Outgoing::Translated, "{}", way.name);
        peer.machine.move_elsewhere();
        assert!(told(&frame) != Quick::Translated, "{}", way.name);
        assert!(told_out(&mut peer, flags::ACK, 300) == Outgoing::Unknown, "{}", way.name);
    }
}

#[test]
fn a_port_that_is_held_or_retired_is_so_for_translated_connections_too() {
    for way in [TRANSLATE, BASIC] {
        let (mut peer, frame) = with_header(way);
        peer.machine.hold(443);
        assert!(told(&frame) == Quick::Unknown, "{}: held", way.name);
        peer.machine.retire(443);
        assert!(told(&frame) == Quick::Translated, "{}: retired", way.name);
    }
}
