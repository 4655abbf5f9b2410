//! Sources that are not trusted, and addresses that only look as if they were.

use proxyip_common::counter::{Counter, DropReason, per_listener};
use proxyip_common::flow::HandOff;

use crate::case::Case;
use crate::flags::at;
use crate::layout::DESTINATION;
use crate::trial::hold;
use proxyip_tests::bench::{
    ACCEPT, AUTO, DROPPING, FAMILIES, Family, Kernel, OBSERVE, PLAIN, Program, RESETTING,
    TRANSLATE, cookie_of, first, flow, linux_options, of_listener,
};
use proxyip_tests::packet::{ACK, FIN, PSH, Packet, RST, SYN, mapped};

#[test]
fn untrusted() {
    hold("sources that are not trusted", || {
        let mut cases = Vec::new();
        for program in Program::INGRESS {
            for family in FAMILIES {
                cases.extend(syns(family, program));
                cases.extend(others(family, program));
            }
            cases.extend(disguised(program));
        }
        cases
    });
}

fn stranger(family: Family, port: u16) -> Packet {
    Packet::new(family.stranger(), family.host(port), SYN)
}

fn syns(family: Family, program: Program) -> Vec<Case> {
    let mut cases = Vec::new();
    for port in [AUTO, TRANSLATE, OBSERVE, ACCEPT, RESETTING, DROPPING] {
        for (what, change) in shapes(family) {
            for payload in [Vec::new(), family.header()] {
                let mut syn = stranger(family, port).with(change);
                syn.payload = payload;
                let case = Case::new(at(what, family, port), program, syn.frame());
                let plain = syn.ip_options.is_empty() && syn.extensions.is_empty();
                cases.push(match port {
                    RESETTING if plain => stranger_refused(case, port)
                        .answered(DropReason::UntrustedReset, syn.reset()),
                    DROPPING | RESETTING => {
                        stranger_refused(case, port).dropped(DropReason::UntrustedDropped)
                    }
                    _ => case.counts(Counter::Bypassed),
                });
            }
        }
    }
    let syn = stranger(family, AUTO);
    let what = at("a SYN of a flow that somebody else had", family, AUTO);
    let case = Case::new(what, program, syn.frame()).counts(Counter::Bypassed);
    cases.push(case.before([flow(&syn, family, HandOff::Accept)]).after([]));
    cases
}

/// Counted for the listener, too.
pub(crate) fn stranger_refused(case: Case, port: u16) -> Case {
    case.counts(of_listener(port, per_listener::UNTRUSTED))
}

type Change = fn(&mut Packet);

/// How a SYN may be laid out.
fn shapes(family: Family) -> Vec<(&'static str, Change)> {
    let between: Change = match family {
        Family::V4 => |syn| syn.ip_options = vec![1; 4],
        Family::V6 => |syn| {
            syn.extensions = vec![(DESTINATION, vec![1, 4, 0, 0, 0, 0])];
        },
    };
    vec![
        ("a SYN", |_| {}),
        ("a SYN with options", |syn| syn.options = linux_options()),
        ("a SYN behind IP options or an extension header", between),
        ("a padded SYN", |syn| syn.padding = vec![0xaa; 6]),
    ]
}

/// A segment that is no SYN goes to the kernel, with a cookie or without.
fn others(family: Family, program: Program) -> Vec<Case> {
    let mut cases = Vec::new();
    for port in [AUTO, TRANSLATE, OBSERVE, ACCEPT, RESETTING, DROPPING] {
        let syn = stranger(family, port);
        let cookie = cookie_of(&syn, PLAIN);
        for flags in [ACK, ACK | PSH, ACK | FIN, RST, RST | ACK, SYN | ACK, SYN | FIN, FIN, 0] {
            let packet = first(&syn, cookie, &family.header()).with(|one| one.flags = flags);
            let what = at(&format!("flags {flags:#x} with a good cookie"), family, port);
            cases.push(Case::new(what, program, packet.frame()));
        }
        if matches!(port, AUTO | TRANSLATE | ACCEPT) {
            for kernel in [Kernel::Request, Kernel::Connected] {
                let syn = stranger(family, port);
                let packet = first(&syn, 1, b"GET / HTTP/1.0\r\n\r\n");
                let what = format!("{}, {kernel:?}", at("a request", family, port));
                cases.push(Case::new(what, program, packet.frame()).kernel(kernel, &syn));
            }
        }
    }
    cases
}

/// An IPv6 packet from the IPv4-mapped address of a trusted source is not from this source: the stack drops these
/// packets.
fn disguised(program: Program) -> Vec<Case> {
    let syn = Family::V4.syn(AUTO);
    let source = mapped(syn.from);
    [Family::V6.host(AUTO), mapped(syn.to)]
        .into_iter()
        .map(|to| {
            let packet = Packet::new(source, to, SYN);
            Case::new(format!("a SYN from {source} to {to}"), program, packet.frame())
        })
        .collect()
}
