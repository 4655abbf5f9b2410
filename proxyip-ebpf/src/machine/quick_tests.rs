//! The quick way changes nothing but the cost: whether a frame can take it or not, the same happens.

use proxyip_common::{
    counter::{Counter, DropReason},
    settings::ListenerSettings,
};

use super::{
    Fate,
    conversation::{
        ACCEPT, BASIC, Conversation, LINUX, OBSERVE, QUESTION, TRANSLATE, Way, ends4, ends6,
    },
    headers,
};
use crate::{
    decide::quick::{Quick, look},
    host::{
        frame::{Checksum, Frame},
        programs::TcContext,
        sockets::Kind,
        wire::{Segment, flags},
    },
    kernel::platform::Modern,
    state::in_use::{self, set_used},
};

const WAYS: [Way; 4] = [ACCEPT, TRANSLATE, BASIC, OBSERVE];

/// How many bytes are at hand: too few for anything, enough for ports, for flags, for some payload, for all.
const AT_HAND: [usize; 6] = [14, 38, 54, 58, 78, 300];

/// What a story has led to.
#[derive(Debug, PartialEq)]
struct End {
    answers: Vec<(u8, u32, u32, Vec<u8>)>,
    fates: Vec<Vec<Fate>>,
    received: Option<Vec<u8>>,
    counted: Vec<u64>,
    drops: Vec<(DropReason, u64)>,
}

/// A connection from its SYN to what comes behind its end.
fn story(peer: &mut Conversation) -> End {
    let header = headers::v2();
    let stream = [&header[..], QUESTION].concat();
    let behind = i32::try_from(stream.len()).unwrap();
    let syn_ack = peer.open(LINUX);
    let mut answers = vec![syn_ack];
    let mut fates = vec![peer.fates.clone()];
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
        fates.push(peer.fates.clone());
    }
    let told = |it: Segment| (it.flags, it.sequence, it.acknowledgment, it.payload);
    End {
        answers: answers.into_iter().map(told).collect(),
        fates,
        received: peer.received(),
        counted: Counter::ALL.iter().map(|counter| peer.count(*counter)).collect(),
        drops: peer.drops(),
    }
}

#[test]
fn a_connection_goes_the_same_way_however_much_is_at_hand() {
    for way in WAYS {
        for ends in [ends4(), ends6()] {
            for (used, more) in [(false, 0), (true, 0), (true, ListenerSettings::MARKS)] {
                let told = AT_HAND.map(|at_hand| {
                    let mut peer = Conversation::new(way, ends);
                    peer.at_hand = at_hand;
                    peer.set_rules(more);
                    if used {
                        set_used(in_use::TRANSLATE);
                    }
                    story(&mut peer)
                });
                for (end, at_hand) in told.iter().zip(AT_HAND) {
                    assert_eq!(*end, told[0], "{}, {at_hand} bytes at hand", way.name);
                }
            }
        }
    }
}

/// What is told quickly of the frame, all of which is at hand.
fn told(bytes: &[u8]) -> Quick {
    let mut frame = Frame::new(bytes.to_vec(), bytes.len(), Checksum::None);
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
fn a_connection_is_established_quickly_if_it_is_not_translated() {
    for (way, used, quick) in [
        (ACCEPT, false, Quick::Established),
        (ACCEPT, true, Quick::Established),
        (TRANSLATE, true, Quick::Unknown),
        (BASIC, true, Quick::Found),
        (OBSERVE, false, Quick::Unknown),
    ] {
        let mut peer = Conversation::opened(way);
        if used {
            set_used(in_use::TRANSLATE);
        }
        let header = headers::v2();
        peer.send_range(&header, 0..header.len());
        let offset = i32::try_from(header.len()).unwrap();
        let kind = peer.machine.socket(peer.ends.0, peer.ends.1, |socket| socket.kind());
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
