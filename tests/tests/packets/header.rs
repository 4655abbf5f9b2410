//! Headers that are refused, and some that are not, as the first segment brings them. The grammar has its own tests.
//! These tests show what happens to the segment.

use proxyip_common::counter::{Counter, DropReason, Obstacle, per_listener};
use proxyip_common::flow::HandOff;
use proxyip_tests::bench::{
    AUTO, FAMILIES, Family, Kernel, PLAIN, Program, SETTINGS, TRANSLATE, cookie_of, first,
    handshake, of_listener,
};
use proxyip_tests::header::{LOCAL, PROXY, TCP4, v1, v2_raw};

use crate::case::Case;
use crate::flags::at;
use crate::trial::hold;
use proxyip_tests::packet::{ACK, FIN, Packet};

#[test]
fn headers() {
    hold("headers", || {
        let mut cases = Vec::new();
        for family in FAMILIES {
            for (what, bytes) in incomplete(family) {
                cases.extend(kept(family, what, &bytes));
            }
            for (what, reason, bytes) in refused() {
                cases.push(accepting(family, what, &bytes, Some(reason)));
                for program in Program::INGRESS {
                    cases.push(translating(family, program, what, &bytes, reason));
                }
            }
            for (what, bytes) in good(family) {
                cases.push(accepting(family, what, &bytes, None));
            }
        }
        cases
    });
}

/// Headers that do not end within the first segment.
fn incomplete(family: Family) -> Vec<(&'static str, Vec<u8>)> {
    let header = family.header();
    let line = v1(family.client(), family.destination());
    let cut = |what, bytes: &[u8]| (what, bytes.to_vec());
    vec![
        cut("one byte of version 1", &line[..1]),
        cut("a line without its end", &line[..line.len() - 1]),
        cut("one byte of version 2", &header[..1]),
        cut("the signature", &header[..12]),
        cut("all of version 2 but a byte", &header[..header.len() - 1]),
        cut("more than is loaded at first", &v2_raw(LOCAL, 0, &[0; 1000])[..900]),
    ]
}

fn refused() -> Vec<(&'static str, DropReason, Vec<u8>)> {
    vec![
        ("a request", DropReason::HeaderMissing, b"GET / HTTP/1.0\r\n\r\n".to_vec()),
        ("a zero", DropReason::HeaderMissing, vec![0]),
        ("an unknown family", DropReason::V1Family, b"PROXY UDP4 1.2.3.4 1.2.3.5 1 2\r\n".to_vec()),
        ("command 2", DropReason::V2Command, v2_raw(0x22, TCP4, &[0; 12])),
        ("addresses cut short", DropReason::V2Length, v2_raw(PROXY, TCP4, &[0; 11])),
        (
            "a TLV beyond the end",
            DropReason::V2Tlv,
            v2_raw(PROXY, TCP4, &[[0; 12].as_slice(), &[4, 0, 9]].concat()),
        ),
    ]
}

fn good(family: Family) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("version 1", v1(family.client(), family.destination())),
        ("version 1 without a client", b"PROXY UNKNOWN\r\n".to_vec()),
        ("version 2", family.header()),
        ("a health check", v2_raw(LOCAL, 0, &[])),
        ("256 bytes", v2_raw(LOCAL, 0, &[0; 240])),
        ("257 bytes", v2_raw(LOCAL, 0, &[0; 241])),
        ("as much as fits", v2_raw(LOCAL, 0, &[0; 1400])),
    ]
}

fn accepting(family: Family, what: &str, bytes: &[u8], reason: Option<DropReason>) -> Case {
    let syn = family.syn(AUTO);
    let packet = first(&syn, cookie_of(&syn, PLAIN), bytes);
    let case = Case::new(at(what, family, AUTO), Program::Ingress, packet.frame());
    match reason {
        Some(reason) => noticed(case, AUTO, reason).answered(reason, packet.reset()),
        None => case.handed_over(&packet),
    }
}

fn translating(
    family: Family,
    program: Program,
    what: &str,
    bytes: &[u8],
    reason: DropReason,
) -> Case {
    let syn = family.syn(TRANSLATE);
    let packet = first(&syn, 1, bytes);
    let entry = handshake(&syn, HandOff::Translate, Obstacle::Configured);
    let case = Case::new(at(what, family, TRANSLATE), program, packet.frame())
        .kernel(Kernel::Request, &syn)
        .before([entry])
        .reset_both(reason, &packet);
    noticed(case, TRANSLATE, reason)
}

/// A missing header is counted for the listener, too.
fn noticed(case: Case, port: u16, reason: DropReason) -> Case {
    match reason {
        DropReason::HeaderMissing => case.counts(of_listener(port, per_listener::HEADERLESS)),
        _ => case,
    }
}

/// What has come is acknowledged; with the end of the stream behind it, it is refused.
fn kept(family: Family, what: &str, bytes: &[u8]) -> Vec<Case> {
    let length = u32::try_from(bytes.len()).expect("a short header");
    // Without options, windows are not scaled.
    let acknowledged = |packet: &Packet| {
        let next = packet.sequence.wrapping_add(length);
        let mut answer = packet.answer(ACK, packet.acknowledgment, next);
        answer.window = SETTINGS.window;
        answer
    };
    let syn = family.syn(AUTO);
    let packet = first(&syn, cookie_of(&syn, PLAIN), bytes);
    let case = Case::new(at(what, family, AUTO), Program::Ingress, packet.frame());
    let mut cases = vec![case.answered(Counter::HeaderPart, acknowledged(&packet))];
    let last = packet.with(|last| last.flags |= FIN);
    let case = Case::new(at(what, family, AUTO), Program::Ingress, last.frame());
    cases.push(case.answered(DropReason::HeaderIncomplete, last.reset()));

    let syn = family.syn(TRANSLATE);
    let packet = first(&syn, 1, bytes);
    let last = packet.with(|last| last.flags |= FIN);
    let entry = handshake(&syn, HandOff::Translate, Obstacle::Configured);
    for program in Program::INGRESS {
        let case = |packet: &Packet| {
            Case::new(at(what, family, TRANSLATE), program, packet.frame())
                .kernel(Kernel::Request, &syn)
                .before([entry])
        };
        let answer = acknowledged(&packet);
        cases.push(case(&packet).answered(Counter::HeaderPart, answer));
        cases.push(case(&last).reset_both(DropReason::HeaderIncomplete, &last));
    }
    cases
}
