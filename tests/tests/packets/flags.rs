//! Flags in every combination that somebody may send.

use proxyip_common::counter::{Counter, Obstacle};
use proxyip_common::flow::HandOff;

use crate::case::Case;
use crate::handshake::syn_ack;
use crate::trial::hold;
use proxyip_tests::bench::{
    ACCEPT, AUTO, FAMILIES, Family, Kernel, MULTIPATH, OBSERVE, OPEN, OVER, PLAIN, Program, SILENT,
    TRANSLATE, after, handshake, no_cookie,
};
use proxyip_tests::packet::{ACK, CWR, ECE, FIN, PSH, Packet, RST, SYN, URG};

#[test]
fn flags() {
    hold("flags", || {
        let mut cases = Vec::new();
        for family in FAMILIES {
            cases.extend(syns(family));
            for program in Program::INGRESS {
                cases.extend(oddities(family, program));
                cases.extend(foreign(family, program));
                cases.extend(not_ours(family, program));
                cases.extend(connected(family, program));
                cases.extend(remembered_syns(family, program));
            }
        }
        cases
    });
}

/// What is a SYN and nothing else that counts, and how it is special.
fn kinds_of_syn(family: Family, port: u16) -> Vec<(&'static str, Packet)> {
    let syn = family.syn(port);
    let numbered = |sequence| syn.with(|packet| packet.sequence = sequence);
    let flagged = |flags| syn.with(|packet| packet.flags = flags);
    vec![
        ("a SYN", syn.clone()),
        ("SYN and PSH", flagged(SYN | PSH)),
        ("SYN and URG", syn.with(|packet| (packet.flags, packet.urgent) = (SYN | URG, 7))),
        ("a SYN that offers ECN", flagged(SYN | ECE | CWR)),
        ("a SYN with the number 0", numbered(0)),
        ("a SYN with the last number", numbered(u32::MAX)),
        ("a SYN that acknowledges without saying so", syn.with(|packet| packet.acknowledgment = 9)),
        ("a SYN without a window", syn.with(|packet| packet.window = 0)),
        ("a SYN at the end of its way", syn.with(|packet| packet.hops = 1)),
        ("a SYN in a frame of 60 bytes or more", syn.with(|packet| packet.padding = vec![0xaa; 6])),
        ("a SYN from port 0", syn.with(|packet| packet.from.set_port(0))),
        ("land: a SYN from the host itself", syn.with(|packet| packet.from = packet.to)),
    ]
}

/// A SYN is answered with a cookie, also if it is unusual or has payload.
fn syns(family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    for port in [AUTO, ACCEPT] {
        let mut kinds = kinds_of_syn(family, port);
        for length in [1, 2, 3, 100, 1400] {
            let syn = family.syn(port).with(|packet| packet.payload = vec![b'x'; length]);
            kinds.push(("a SYN with payload", syn));
        }
        for (what, syn) in kinds {
            let case = Case::new(at(what, family, port), Program::Ingress, syn.frame());
            cases.push(case.answered(Counter::SynAnswered, syn_ack(&syn, PLAIN)));
        }
    }
    cases
}

/// A SYN that the kernel answers passes, without payload, and is remembered.
fn remembered_syns(family: Family, program: Program) -> Vec<Case> {
    let basic = program == Program::IngressBasic;
    let automatic = if basic { Obstacle::NoKfunc } else { Obstacle::Mptcp };
    let mut ways = vec![
        (TRANSLATE, HandOff::Translate, Obstacle::Configured),
        (OBSERVE, HandOff::Observe, Obstacle::Configured),
        (MULTIPATH, HandOff::Translate, automatic),
    ];
    if basic {
        ways.push((AUTO, HandOff::Translate, Obstacle::NoKfunc));
    }
    let mut cases = Vec::new();
    for (port, hand_off, reason) in ways {
        for (what, syn) in kinds_of_syn(family, port) {
            let case = Case::new(at(what, family, port), program, syn.frame());
            cases.push(case.after([handshake(&syn, hand_off, reason)]));
        }
        for length in [1, 2, 3, 100, 1400] {
            let syn = family.syn(port).with(|packet| packet.payload = vec![b'x'; length]);
            let cut = syn.with(|packet| packet.padding = std::mem::take(&mut packet.payload));
            let case = Case::new(at("a SYN with payload", family, port), program, syn.frame());
            let entry = handshake(&syn, hand_off, reason);
            cases.push(case.passed_as(cut.frame()).after([entry]));
        }
    }
    let syn = family.syn(ACCEPT);
    let left = Case::new(at("a SYN", family, ACCEPT), program, syn.frame());
    if basic {
        cases.push(left.counts(Obstacle::NoKfunc));
    }
    cases
}

/// Flags that begin and belong to nothing: TCP refuses them, or answers a listening socket's RST.
fn oddities(family: Family, program: Program) -> Vec<Case> {
    let kinds = [
        ("no flags", 0),
        ("FIN", FIN),
        ("PSH", PSH),
        ("URG", URG),
        ("Xmas", FIN | PSH | URG),
        ("SYN and FIN", SYN | FIN),
        ("SYN, FIN and PSH", SYN | FIN | PSH),
        ("SYN and RST", SYN | RST),
        ("SYN and ACK", SYN | ACK),
        ("SYN, ACK and FIN", SYN | ACK | FIN),
        ("every flag", 0xff),
        ("RST", RST),
        ("RST and ACK", RST | ACK),
        ("RST and FIN", RST | FIN),
        ("ECE and CWR", ECE | CWR),
    ];
    let mut cases = Vec::new();
    for port in [AUTO, TRANSLATE, OBSERVE, ACCEPT, MULTIPATH, SILENT, OVER, OPEN] {
        for (what, flags) in kinds {
            for payload in [Vec::new(), family.header()] {
                let carries = format!("{what} with {} bytes", payload.len());
                let packet =
                    family.syn(port).with(|one| (one.flags, one.payload) = (flags, payload));
                cases.push(Case::new(at(&carries, family, port), program, packet.frame()));
            }
        }
    }
    cases
}

/// Segments of no handshake, from a trusted source, for a listening socket.
fn foreign(family: Family, program: Program) -> Vec<Case> {
    let mut cases = Vec::new();
    let kinds = [
        ("ACK", ACK),
        ("PSH and ACK", PSH | ACK),
        ("FIN and ACK", FIN | ACK),
        ("Xmas with ACK", FIN | PSH | URG | ACK),
        ("ACK with ECE and CWR", ACK | ECE | CWR),
    ];
    for port in [AUTO, TRANSLATE, OBSERVE, MULTIPATH, ACCEPT] {
        for (what, flags) in kinds {
            for payload in [Vec::new(), family.header()] {
                let mut packet =
                    family.syn(port).with(|one| (one.flags, one.payload) = (flags, payload));
                packet.acknowledgment = no_cookie(&mut packet);
                let case = Case::new(at(what, family, port), program, packet.frame());
                let flooded = case.clone().in_a_flood();
                cases.push(flooded.dropped(Counter::CookieForeignUnanswered));
                cases.push(match port {
                    ACCEPT => case.counts(Counter::CookieForeign),
                    _ => case.answered(Counter::CookieForeign, packet.reset()),
                });
            }
        }
    }
    cases
}

/// What is none of proxyip's business.
fn not_ours(family: Family, program: Program) -> Vec<Case> {
    let mut cases = Vec::new();
    for port in [OPEN, OVER] {
        for flags in [SYN, ACK, FIN | ACK] {
            let packet = family.syn(port).with(|packet| packet.flags = flags);
            cases.push(Case::new(at("another port", family, port), program, packet.frame()));
        }
    }
    for port in [AUTO, TRANSLATE, OBSERVE, ACCEPT, MULTIPATH] {
        let elsewhere = family.syn(port).with(|packet| packet.to = family.other_host(port));
        let what = at("a SYN for another host", family, port);
        cases.push(Case::new(what, program, elsewhere.frame()));
        for (what, mac) in [("another", [2, 0, 0, 0, 0, 9]), ("every", [0xff; 6])] {
            let packet = family.syn(port).with(|packet| packet.ethernet[0] = mac);
            let what = at(&format!("a SYN for {what} interface"), family, port);
            cases.push(Case::new(what, program, packet.frame()));
        }
    }
    for everybody in family.everybody(AUTO) {
        let syn = family.syn(AUTO).with(|packet| packet.to = everybody);
        let what = at(&format!("a SYN for {everybody}"), family, AUTO);
        cases.push(Case::new(what, program, syn.frame()));
    }
    let syn = family.syn(SILENT);
    let what = at("a SYN", family, SILENT);
    cases.push(Case::new(what, program, syn.frame()).counts(Counter::NoListener));
    let packet = syn.with(|packet| packet.flags = ACK);
    cases.push(Case::new(at("ACK", family, SILENT), program, packet.frame()));
    cases
}

/// Segments of a connection that was made otherwise.
fn connected(family: Family, program: Program) -> Vec<Case> {
    let mut cases = Vec::new();
    for port in [AUTO, TRANSLATE, OBSERVE, ACCEPT, OVER, OPEN] {
        for flags in [ACK, ACK | PSH, ACK | FIN, ACK | URG, RST, RST | ACK, 0, SYN | ACK, SYN] {
            let syn = family.syn(port);
            let mut packet = after(&syn, 1, flags, &family.header());
            if flags & SYN != 0 {
                packet.payload.clear();
            }
            let what = at(&format!("flags {flags:#x} of a connection"), family, port);
            let case = Case::new(what, program, packet.frame()).kernel(Kernel::Connected, &syn);
            let challenged = flags == SYN && !matches!(port, OVER | OPEN);
            cases.push(if challenged { case.counts(Obstacle::LivingSocket) } else { case });
        }
    }
    cases
}

/// What, to which port, by which protocol.
pub(crate) fn at(what: &str, family: Family, port: u16) -> String {
    format!("{what} to port {port}, {}", family.name())
}
