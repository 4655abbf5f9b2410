//! Clients that a listener denies, and others.

use proxyip_common::counter::{DropReason, Obstacle, per_listener};
use proxyip_common::flow::HandOff;
use proxyip_tests::bench::{
    FAMILIES, Family, Kernel, MUTE, PLAIN, Program, REFUSING, cookie_of, first, handshake,
    of_listener,
};
use proxyip_tests::header::{LOCAL, v1, v2, v2_raw};

use crate::case::Case;
use crate::flags::at;
use crate::trial::hold;
use proxyip_tests::packet::Packet;

#[test]
fn policy() {
    hold("clients that are denied", || {
        let mut cases = Vec::new();
        for family in FAMILIES {
            for (what, bytes, allowed) in headers(family) {
                for port in [REFUSING, MUTE] {
                    cases.push(accepting(family, port, what, &bytes, allowed));
                    for program in Program::INGRESS {
                        cases.extend(translating(family, program, port, what, &bytes, allowed));
                    }
                }
            }
        }
        cases
    });
}

/// And whether they are let through.
fn headers(family: Family) -> Vec<(&'static str, Vec<u8>, bool)> {
    let (client, destination) = (family.client(), family.destination());
    let mut neighbour = client;
    neighbour.set_ip(match family {
        Family::V4 => "198.51.100.8".parse().expect("an address"),
        Family::V6 => "2001:db8:5::8".parse().expect("an address"),
    });
    vec![
        ("version 1 of a denied client", v1(client, destination), false),
        ("version 2 of a denied client", v2(client, destination), false),
        ("another client", v2(neighbour, destination), true),
        ("a health check", v2_raw(LOCAL, 0, &[]), true),
        ("no client, where others are allowed", b"PROXY UNKNOWN\r\n".to_vec(), true),
    ]
}

fn accepting(family: Family, port: u16, what: &str, bytes: &[u8], allowed: bool) -> Case {
    let syn = family.syn(port);
    let packet = first(&syn, cookie_of(&syn, PLAIN), bytes);
    let case = Case::new(at(what, family, port), Program::Ingress, packet.frame());
    let denied = of_listener(port, per_listener::DENIED);
    match (allowed, port) {
        (true, _) => case.handed_over(&packet),
        (false, MUTE) => case.counts(denied).dropped(DropReason::DeniedDropped),
        (false, _) => case.counts(denied).answered(DropReason::DeniedReset, packet.reset()),
    }
}

/// [`crate::translate`] shows what happens to connections that are let through.
fn translating(
    family: Family,
    program: Program,
    port: u16,
    what: &str,
    bytes: &[u8],
    allowed: bool,
) -> Option<Case> {
    if allowed {
        return None;
    }
    let syn = family.syn(port);
    let packet: Packet = first(&syn, 1, bytes);
    let entry = handshake(&syn, HandOff::Translate, Obstacle::Configured);
    let case = Case::new(at(what, family, port), program, packet.frame())
        .kernel(Kernel::Request, &syn)
        .before([entry])
        .counts(of_listener(port, per_listener::DENIED));
    Some(match port {
        MUTE => case.dropped(DropReason::DeniedDropped),
        _ => case.reset_both(DropReason::DeniedReset, &packet),
    })
}
