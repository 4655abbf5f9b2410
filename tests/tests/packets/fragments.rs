//! Fragments. The kernel reassembles them only behind the programs, which see each fragment separately. A first
//! fragment that may hide the beginning of a connection is dropped. Without it the others are useless.

use proxyip_common::counter::{Counter, DropReason, Obstacle};
use proxyip_common::flow::HandOff;

use crate::case::Case;
use crate::flags::at;
use crate::layout::{DESTINATION, ROUTING};
use crate::trial::hold;
use crate::untrusted::stranger_refused;
use proxyip_tests::bench::{
    ACCEPT, AUTO, DROPPING, FAMILIES, Family, Kernel, OBSERVE, OPEN, OVER, Program, RESETTING,
    TRANSLATE, after, first, handshake, linux_options,
};
use proxyip_tests::packet::{ACK, Packet, SYN};

#[test]
fn fragments() {
    hold("fragments", || {
        let mut cases = Vec::new();
        for family in FAMILIES {
            for program in Program::INGRESS {
                cases.extend(beginnings(family, program));
                cases.extend(behind_options(family, program));
                cases.extend(waiting(family, program));
                cases.extend(harmless(family, program));
                cases.extend(strangers(family, program));
            }
        }
        cases
    });
}

/// The shortest frame that comes by a cable; shorter ones are filled up.
pub(crate) const SHORTEST: usize = 60;

/// A frame as it is, and as it comes by a cable.
fn padded(frame: Vec<u8>) -> [(&'static str, Vec<u8>); 2] {
    let mut long = frame.clone();
    long.resize(frame.len().max(SHORTEST), 0x50);
    [("", frame), (", padded", long)]
}

/// A SYN with options. Its first fragment holds this many bytes.
fn beginnings(family: Family, program: Program) -> Vec<Case> {
    let mut cases = Vec::new();
    for port in [AUTO, TRANSLATE, OBSERVE, ACCEPT] {
        let syn = family.syn(port).with(|syn| syn.options = linux_options());
        for bytes in [8, 16, 24, 32, 40] {
            for (how, frame) in padded(syn.fragment(0..bytes, true)) {
                let what = at(&format!("{bytes} bytes of a SYN{how}"), family, port);
                cases.push(Case::new(what, program, frame).dropped(DropReason::Fragment));
            }
        }
    }
    cases
}

/// The same behind IP options or extension headers.
fn behind_options(family: Family, program: Program) -> Vec<Case> {
    let syn = family.syn(AUTO).with(|syn| {
        syn.options = linux_options();
        match family {
            Family::V4 => syn.ip_options = vec![1; 40],
            Family::V6 => {
                syn.extensions =
                    vec![(ROUTING, vec![0; 22]), (DESTINATION, vec![1, 4, 0, 0, 0, 0])];
            }
        }
    });
    let mut cases = Vec::new();
    for bytes in [8, 16, 24, 32, 40] {
        for (how, frame) in padded(syn.fragment(0..bytes, true)) {
            let what = at(&format!("{bytes} bytes of a SYN behind options{how}"), family, AUTO);
            cases.push(Case::new(what, program, frame).dropped(DropReason::Fragment));
        }
    }
    cases
}

/// Segments of a handshake.
fn waiting(family: Family, program: Program) -> Vec<Case> {
    let mut cases = Vec::new();
    for kernel in [Kernel::Request, Kernel::Listening] {
        let payload = [family.header(), vec![b'x'; 200]].concat();
        for (payload, ends) in [(payload, &[8, 16, 24, 40, 64, 96][..]), (Vec::new(), &[8, 24, 32])]
        {
            for bytes in ends {
                let syn = family.syn(TRANSLATE);
                let entry = handshake(&syn, HandOff::Translate, Obstacle::Configured);
                let packet = after(&syn, 1, ACK, &payload).with(|one| one.options = vec![1; 20]);
                let what = format!("{bytes} bytes of a segment, {kernel:?}");
                let frame = packet.fragment(0..*bytes, true);
                let case = Case::new(at(&what, family, TRANSLATE), program, frame);
                let case = case.kernel(kernel, &syn).before([entry]);
                cases.push(case.dropped(DropReason::Fragment));
            }
        }
    }
    cases
}

/// What is nothing without a first fragment, or begins nothing that is guarded.
fn harmless(family: Family, program: Program) -> Vec<Case> {
    let mut cases = Vec::new();
    let syn = family.syn(AUTO).with(|syn| syn.payload = vec![b'x'; 96]);
    for (from, to, more) in [(24, 48, true), (8, 16, true), (96, 116, false), (16, 116, false)] {
        for (how, frame) in padded(syn.fragment(from..to, more)) {
            let what = at(&format!("bytes {from} to {to} of a SYN{how}"), family, AUTO);
            cases.push(Case::new(what, program, frame));
        }
    }
    for port in [OPEN, OVER] {
        let frame = family.syn(port).with(|syn| syn.payload = vec![0; 96]).fragment(0..64, true);
        cases.push(Case::new(at("a first fragment", family, port), program, frame));
    }
    let elsewhere = family.syn(AUTO).with(|syn| syn.to = family.other_host(AUTO));
    let frame = elsewhere.with(|syn| syn.payload = vec![0; 96]).fragment(0..64, true);
    cases.push(Case::new(at("a first fragment for another host", family, AUTO), program, frame));
    let syn = family.syn(AUTO);
    let frame = first(&syn, 1, &[b'x'; 96]).fragment(0..64, true);
    let case = Case::new(at("a fragment of a connection", family, AUTO), program, frame);
    cases.push(case.kernel(Kernel::Connected, &syn));
    if family == Family::V6 {
        // RFC 6946: a fragment that is the whole.
        let syn = family.syn(AUTO);
        let case =
            Case::new(at("an atomic fragment", family, AUTO), program, syn.fragment(0..20, false));
        cases.push(case.dropped(DropReason::Fragment));
    }
    cases
}

/// First fragments of sources that are not trusted. An answer says nothing of what the fragment does not.
fn strangers(family: Family, program: Program) -> Vec<Case> {
    let mut cases = Vec::new();
    for port in [AUTO, RESETTING, DROPPING] {
        let syn = Packet::new(family.stranger(), family.host(port), SYN);
        let whole = syn.with(|syn| syn.payload = vec![0; 96]);
        let case = Case::new(
            at("a stranger's fragment", family, port),
            program,
            whole.fragment(0..20 + 4, true),
        );
        cases.push(match port {
            DROPPING | RESETTING => {
                stranger_refused(case, port).dropped(DropReason::UntrustedDropped)
            }
            _ => case.counts(Counter::Bypassed),
        });
        if family == Family::V4 {
            let case = Case::new(
                at("a stranger's 8 bytes", family, port),
                program,
                syn.fragment(0..8, true),
            );
            cases.push(match port {
                DROPPING | RESETTING => {
                    stranger_refused(case, port).dropped(DropReason::UntrustedDropped)
                }
                _ => case.counts(Counter::Bypassed),
            });
        }
    }
    cases
}
