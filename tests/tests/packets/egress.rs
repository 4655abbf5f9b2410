//! The way out of translated connections: acknowledgments raised, and nothing else.

use proxyip_common::counter::DropReason;
use proxyip_common::flow::Translation;

use crate::case::Case;
use crate::flags::at;
use crate::translate::shift;
use crate::trial::hold;
use proxyip_tests::bench::{
    AUTO, FAMILIES, Family, OPEN, Program, TIMESTAMPS, TRANSLATE, translation,
};
use proxyip_tests::packet::{ACK, FIN, PSH, Packet, RST, SYN};

#[test]
fn egress() {
    hold("egress", || {
        let mut cases = Vec::new();
        for family in FAMILIES {
            cases.extend(outgoing(family));
            cases.extend(selective(family));
        }
        cases
    });
}

/// What leaves: acknowledgments are raised, and nothing else.
fn outgoing(family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    for port in [TRANSLATE, AUTO] {
        let syn = family.syn(port);
        let entry = translation(&syn, shift(family), Translation::ESTABLISHED);
        let out = Packet::new(syn.to, syn.from, ACK);
        for (what, flags, acknowledgment, payload) in [
            ("an ACK", ACK, 0x1000, &b""[..]),
            ("data", ACK | PSH, 0x1000, b"an answer"),
            ("FIN", ACK | FIN, u32::MAX, b""),
            ("RST and ACK", ACK | RST, 3, b""),
        ] {
            for options in [&[][..], &TIMESTAMPS, &[1, 1, 1, 1]] {
                let packet = out.with(|one| {
                    (one.flags, one.acknowledgment) = (flags, acknowledgment);
                    (one.payload, one.options) = (payload.to_vec(), options.to_vec());
                });
                let case = Case::new(at(what, family, port), Program::Egress, packet.frame());
                cases.push(case.before([entry]).passed_as(raised(&packet, family).frame()));
            }
        }
        for (what, flags) in [("SYN-ACK", SYN | ACK), ("RST", RST), ("no flags", 0)] {
            let packet = out.with(|one| one.flags = flags);
            let case = Case::new(at(what, family, port), Program::Egress, packet.frame());
            cases.push(case.before([entry]));
        }
        let other = out.with(|one| one.to = family.peer());
        let what = at("of another connection", family, port);
        cases.push(Case::new(what, Program::Egress, other.frame()).before([entry]));
        let open = out.with(|one| one.from.set_port(OPEN));
        let what = at("from another port", family, port);
        cases.push(Case::new(what, Program::Egress, open.frame()).before([entry]));
        let last = out.with(|one| one.flags = RST | ACK);
        let case = Case::new(at("the last RST", family, port), Program::Egress, last.frame());
        let closed = translation(&syn, shift(family), Translation::CLOSED);
        cases.push(case.before([closed]).after([]).passed_as(raised(&last, family).frame()));
    }
    cases
}

fn raised(packet: &Packet, family: Family) -> Packet {
    let shift = u32::from(shift(family));
    packet.with(|one| one.acknowledgment = one.acknowledgment.wrapping_add(shift))
}

/// SACK blocks are raised like the acknowledgment.
fn selective(family: Family) -> Vec<Case> {
    let syn = family.syn(TRANSLATE);
    let entry = translation(&syn, shift(family), Translation::ESTABLISHED);
    let out = Packet::new(syn.to, syn.from, ACK).with(|one| one.acknowledgment = 0x2000);
    let edges = [0x3000, 0x3100, u32::MAX - 9, 6, 0x1000, 0x2000, 0x5000, 0x5001];
    let block = |raise: u32, blocks: usize| {
        let mut option = vec![5, u8::try_from(2 + 8 * blocks).expect("a short option")];
        for edge in &edges[..2 * blocks] {
            option.extend(edge.wrapping_add(raise).to_be_bytes());
        }
        option
    };
    let mut cases = Vec::new();
    for blocks in 1..=4 {
        for lead in [&[1, 1][..], &TIMESTAMPS] {
            let pad: &[u8] = if lead.len() == 2 { &[] } else { &[1, 1] };
            if lead.len() + pad.len() + 2 + blocks * 8 > 40 {
                continue;
            }
            let options = |raise| [lead, pad, &block(raise, blocks)].concat();
            let packet = out.with(|one| one.options = options(0));
            let expected =
                raised(&packet, family).with(|one| one.options = options(u32::from(shift(family))));
            let what = at(&format!("{blocks} SACK blocks"), family, TRANSLATE);
            let case = Case::new(what, Program::Egress, packet.frame());
            cases.push(case.before([entry]).passed_as(expected.frame()));
        }
    }
    let odd = out.with(|one| one.options = [&[1][..], &block(0, 1), &[1]].concat());
    let what = at("SACK at an odd place", family, TRANSLATE);
    let case = Case::new(what, Program::Egress, odd.frame()).before([entry]);
    cases.push(case.dropped(DropReason::TranslateFailed));
    cases
}
