//! The translate hand-off: what is remembered, and sequence numbers lowered on the way in.

use proxyip_common::counter::{Counter, DropReason, Obstacle, per_listener};
use proxyip_common::flow::{HandOff, Translation};

use crate::case::Case;
use crate::flags::at;
use crate::layout::DESTINATION;
use crate::trial::hold;
use proxyip_tests::bench::{
    Count, Entry, FAMILIES, Family, Kernel, Program, SETTINGS, TIMESTAMPS, TRANSLATE, after, first,
    flow, handshake, translation,
};
use proxyip_tests::packet::{ACK, Checksum, ECE, FIN, PSH, Packet, RST, SYN, URG};

/// An acknowledgment number; those of the kernel's SYN-ACKs are not looked at.
const ANY: u32 = 0x7000_0000;

#[test]
fn translated() {
    hold("translated connections", || {
        let mut cases = Vec::new();
        for family in FAMILIES {
            for program in Program::INGRESS {
                cases.extend(options_of_syns(family, program));
                cases.extend(before_the_header(family, program));
                cases.extend(headers(family, program));
                cases.extend(living(family, program));
                cases.extend(replaced(family, program));
            }
        }
        cases
    });
}

/// How many bytes a header has.
pub(crate) fn shift(family: Family) -> u16 {
    family.header().len().try_into().expect("a short header")
}

fn lowered(packet: &Packet, family: Family) -> Packet {
    packet.with(|one| one.sequence = one.sequence.wrapping_sub(shift(family).into()))
}

/// What the listener of [`TRANSLATE`] counts when a header has been read.
fn configured() -> Count {
    Count::Listener(1, per_listener::TRANSLATE + Obstacle::Configured as u32)
}

/// Options of a SYN that the kernel must not see become no-operations.
fn options_of_syns(family: Family, program: Program) -> Vec<Case> {
    let kinds: [(&str, &[u8], &[u8]); 6] = [
        ("MPTCP", &[30, 4, 0, 1, 4, 2, 1, 1], &[1, 1, 1, 1, 4, 2, 1, 1]),
        ("Fast Open", &[34, 2, 4, 2], &[1, 1, 4, 2]),
        ("a Fast Open cookie", &[1, 1, 34, 10, 1, 2, 3, 4, 5, 6, 7, 8], &[1; 12]),
        ("an experiment", &[1, 254, 4, 0xf9, 0x89, 0, 0, 0], &[1, 1, 1, 1, 1, 0, 0, 0]),
        ("Fast Open behind the end", &[0, 34, 2, 1], &[0, 34, 2, 1]),
        ("Fast Open, too long", &[4, 2, 34, 3], &[4, 2, 34, 3]),
    ];
    let mut cases = Vec::new();
    for (what, options, seen) in kinds {
        for payload in [Vec::new(), family.header()] {
            let syn = family
                .syn(TRANSLATE)
                .with(|syn| (syn.options, syn.payload) = (options.to_vec(), payload));
            let passed = syn.with(|syn| {
                syn.options = seen.to_vec();
                syn.padding = std::mem::take(&mut syn.payload);
            });
            let case = Case::new(at(what, family, TRANSLATE), program, syn.frame());
            let entry = handshake(&syn, HandOff::Translate, Obstacle::Configured);
            cases.push(case.passed_as(passed.frame()).after([entry]));
        }
    }
    cases
}

/// Segments of a handshake that the kernel does, all but the first with payload.
fn before_the_header(family: Family, program: Program) -> Vec<Case> {
    let mut cases = Vec::new();
    for kernel in [Kernel::Request, Kernel::Listening] {
        let waiting = |what: &str, flags, ahead: u32, payload: &[u8]| {
            let syn = family.syn(TRANSLATE);
            let mut packet = after(&syn, ANY, flags, payload);
            packet.sequence = packet.sequence.wrapping_add(ahead);
            let what = format!("{}, {kernel:?}", at(what, family, TRANSLATE));
            let case = Case::new(what, program, packet.frame());
            let entry = handshake(&syn, HandOff::Translate, Obstacle::Configured);
            (case.kernel(kernel, &syn).before([entry]), syn, packet)
        };
        let (case, ..) = waiting("the bare ACK", ACK, 0, &[]);
        cases.push(case.dropped(Counter::AckDeferred));
        let (case, _, packet) = waiting("FIN", FIN | ACK, 0, &[]);
        cases.push(case.answered(Counter::FinBeforeHeader, packet.reset()));
        for (what, ahead, length) in [
            ("the second segment", 100, 5),
            ("an ACK behind the second segment", 100, 0),
            ("two bytes that begin too early", u32::MAX, 2),
            ("many bytes that begin too early", u32::MAX - 9, 50),
        ] {
            let (case, ..) = waiting(what, ACK | PSH, ahead, &family.header()[..length.min(28)]);
            cases.push(case.dropped(Counter::OutOfOrder));
        }
        for payload in [&[][..], &[0]] {
            let (case, syn, probe) = waiting("a keep-alive probe", ACK, u32::MAX, payload);
            let mut answer = probe.answer(ACK, probe.acknowledgment, syn.sequence.wrapping_add(1));
            answer.window = SETTINGS.window;
            cases.push(case.answered(Counter::KeepAliveAnswered, answer));
        }
        let (case, ..) = waiting("RST", RST, 0, &[]);
        cases.push(case);
        let (case, ..) = waiting("the SYN again", SYN, u32::MAX, &[]);
        if kernel == Kernel::Request {
            cases.push(case);
        }
    }
    let syn = family.syn(TRANSLATE);
    let ack = after(&syn, ANY, ACK, &[]);
    let what = at("an ACK of a handshake that was forgotten", family, TRANSLATE);
    let case = Case::new(what, program, ack.frame()).kernel(Kernel::Request, &syn);
    cases.push(case.reset_both(DropReason::HandshakeUnknown, &ack));
    cases
}

/// The segment that brings the header.
fn headers(family: Family, program: Program) -> Vec<Case> {
    let alone = family.header();
    let more = [family.header(), b"GET /\r\n".to_vec()].concat();
    let bare = |packet: &Packet| {
        packet.with(|bare| {
            bare.padding = std::mem::take(&mut bare.payload);
            bare.flags = ACK;
        })
    };
    let lower = |packet: &Packet| lowered(packet, family);
    let mut cases = Vec::new();
    for (kernel, payload, flags, seen) in [
        // A SYN cookie: there is no request socket, and what makes one must have the SYN's number.
        (Kernel::Listening, &alone, 0, &bare as &dyn Fn(&Packet) -> Packet),
        (Kernel::Listening, &more, 0, &bare),
        (Kernel::Request, &alone, 0, &bare),
        (Kernel::Request, &more, 0, &lower),
        (Kernel::Request, &more, FIN, &lower),
        (Kernel::Request, &more, URG, &lower),
    ] {
        for options in [Vec::new(), TIMESTAMPS.to_vec()] {
            let syn = family.syn(TRANSLATE);
            let packet = first(&syn, ANY, payload)
                .with(|one| (one.flags, one.options) = (one.flags | flags, options));
            let what = format!("a first segment of {} bytes, {kernel:?}", payload.len());
            let case = Case::new(at(&what, family, TRANSLATE), program, packet.frame());
            let entry = handshake(&syn, HandOff::Translate, Obstacle::Configured);
            let case = case.kernel(kernel, &syn).before([entry]);
            let case = case.counts(Counter::HandedOver).counts(configured());
            cases.push(case.passed_as(seen(&packet).frame()).after([
                flow(&syn, family, HandOff::Translate),
                translation(&syn, shift(family), Translation::OPENING),
            ]));
        }
    }
    let syn = family.syn(TRANSLATE);
    let damaged = first(&syn, ANY, &more).with(|packet| packet.checksum = Checksum::Damaged(1));
    let case = Case::new(at("a damaged header", family, TRANSLATE), program, damaged.frame());
    let entry = handshake(&syn, HandOff::Translate, Obstacle::Configured);
    let case = case.kernel(Kernel::Request, &syn).before([entry]);
    cases.push(case.dropped(DropReason::Checksum));
    cases
}

/// Segments of a connection that is translated.
fn living(family: Family, program: Program) -> Vec<Case> {
    let mut cases = Vec::new();
    for state in [Translation::ESTABLISHED, Translation::CLOSED, Translation::OPENING] {
        let syn = family.syn(TRANSLATE);
        let entry = translation(&syn, shift(family), state);
        for (what, flags, sequence, payload) in [
            ("data", ACK | PSH, syn.sequence.wrapping_add(1000), &b"some data"[..]),
            ("a bare ACK", ACK, syn.sequence.wrapping_add(1000), b""),
            ("FIN", ACK | FIN, syn.sequence.wrapping_add(1000), b""),
            ("urgent data", ACK | URG, syn.sequence.wrapping_add(1000), b"!"),
            ("a number near zero", ACK, 5, b"odd"),
            ("a number at the end", ACK | ECE, u32::MAX, b"even"),
            ("no flags", 0, 77, b""),
        ] {
            for options in [&[][..], &TIMESTAMPS] {
                let mut packet = after(&syn, ANY, flags, payload);
                (packet.sequence, packet.options) = (sequence, options.to_vec());
                let what = format!("{}, state {state}", at(what, family, TRANSLATE));
                let case = Case::new(what, program, packet.frame()).before([entry]);
                cases.push(case.passed_as(lowered(&packet, family).frame()));
            }
        }
        cases.extend(peculiar(family, program, &syn, entry));
    }
    let syn = family.syn(TRANSLATE);
    for (state, after_reset) in [
        (Translation::ESTABLISHED, Some(Translation::RESET)),
        (Translation::RESET, Some(Translation::RESET)),
        (Translation::CLOSED, Some(Translation::CLOSED)),
        (Translation::OPENING, None),
    ] {
        let reset = after(&syn, ANY, RST, &[]);
        let case = Case::new(at("RST", family, TRANSLATE), program, reset.frame());
        let entry = |state| translation(&syn, shift(family), state);
        let case = case.before([entry(state)]).passed_as(lowered(&reset, family).frame());
        cases.push(case.after(after_reset.map(entry).into_iter().collect::<Vec<_>>()));
    }
    cases
}

/// Wherever the TCP header is, its number is found; and what was damaged stays so.
fn peculiar(family: Family, program: Program, syn: &Packet, entry: Entry) -> Vec<Case> {
    let data = after(syn, ANY, ACK, b"0123456789").with(|one| one.sequence = 99_999);
    let between = data.with(|one| match family {
        Family::V4 => one.ip_options = vec![1; 8],
        Family::V6 => one.extensions = vec![(DESTINATION, vec![1, 4, 0, 0, 0, 0])],
    });
    let case = |what: &str, frame: Vec<u8>, expected: Vec<u8>| {
        let case = Case::new(at(what, family, TRANSLATE), program, frame).before([entry]);
        case.passed_as(expected)
    };
    let flip = |mut frame: Vec<u8>| {
        *frame.last_mut().expect("a payload") ^= 4;
        frame
    };
    let lower = |packet: &Packet| lowered(packet, family);
    vec![
        case("between IP and TCP", between.frame(), lower(&between).frame()),
        case("a first fragment", data.fragment(0..24, true), lower(&data).fragment(0..24, true)),
        case("damaged data", flip(data.frame()), flip(lower(&data).frame())),
    ]
}

/// A 4-tuple that was in `TIME_WAIT` when a SYN came for it.
fn replaced(family: Family, program: Program) -> Vec<Case> {
    let superseded = |syn: &Packet| match translation(syn, shift(family), Translation::CLOSED) {
        Entry::Translation(key, entry) => {
            Entry::Translation(key, Translation { flags: Translation::SUPERSEDED, ..entry })
        }
        other => other,
    };
    let syn = family.syn(TRANSLATE);
    let old = translation(&syn, shift(family), Translation::CLOSED);
    let again = syn.with(|again| again.sequence = syn.sequence.wrapping_add(1 << 20));
    let new = handshake(&again, HandOff::Translate, Obstacle::Configured);
    let case = |what: &str, packet: &Packet| {
        let syn = packet.with(|one| (one.flags, one.sequence) = (SYN, syn.sequence));
        let syn = syn.with(|one| (one.payload, one.options) = (Vec::new(), Vec::new()));
        let case = Case::new(at(what, family, TRANSLATE), program, packet.frame());
        case.kernel(Kernel::TimeWait, &syn)
    };
    let late = after(&syn, ANY, ACK | FIN, &[]).with(|late| late.from = family.peer());
    let late_syn = syn.with(|syn| syn.from = late.from);
    vec![
        case("a SYN in TIME_WAIT", &again).before([old]).after([superseded(&syn), new]),
        case("a late FIN in TIME_WAIT", &late)
            .before([superseded(&late_syn)])
            .passed_as(lowered(&late, family).frame()),
    ]
}
