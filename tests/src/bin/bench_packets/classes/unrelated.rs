//! Traffic of others, which has to pass and should not notice.

use proxyip_common::counter::Counter;
use proxyip_common::flow::Translation;
use proxyip_tests::bench::{AUTO, FAMILIES, Family, TRANSLATE, translation};

use super::translate::{raised, shift};
use super::{acknowledgment, data, datagram, named, of_another_protocol, reply};
use crate::class::{Case, Class};

/// A port that nobody guards, and none near it.
const FAR: u16 = 50_000;
/// A port that nobody guards, beside some that are.
const NEAR: u16 = 92;

pub(super) fn classes() -> Vec<Class> {
    FAMILIES.into_iter().flat_map(|family| [incoming(family), outgoing(family)].concat()).collect()
}

fn incoming(family: Family) -> Vec<Class> {
    let segment = |port| data(&family.syn(port));
    let passes = |what: &str, frame: Vec<u8>| {
        Class::ingress(named(what, family), Case::passes(frame)).unlike(bypassed(family))
    };
    vec![
        passes("in: UDP", datagram(&family.syn(FAR))),
        passes("in: UDP to the number of a guarded port", datagram(&family.syn(AUTO))),
        passes("in: TCP to a port far from guarded ones", segment(FAR).frame()),
        passes("in: TCP to a port beside guarded ones", segment(NEAR).frame()),
        passes("in: another protocol", of_another_protocol(&family.syn(FAR))),
    ]
}

/// A SYN for a guarded port, by somebody who is not trusted.
pub(super) fn bypassed(family: Family) -> Case {
    let syn = family.syn(AUTO).with(|syn| syn.from = family.stranger());
    Case::passes(syn.frame()).counts(Counter::Bypassed)
}

fn outgoing(family: Family) -> Vec<Class> {
    let segment = reply(&family.syn(FAR));
    let idle = |what: &str, frame: Vec<u8>| {
        Class::egress(named(what, family), Case::passes(frame)).unlike(translated(family))
    };
    let busy =
        |what: &str, frame: Vec<u8>| idle(&format!("{what}, some are translated"), frame).in_use();
    vec![
        idle("out: TCP from a port that is not guarded", data(&segment).frame()),
        busy("out: TCP from a port that is not guarded", data(&segment).frame()),
        busy("out: UDP", datagram(&segment)),
        busy("out: another protocol", of_another_protocol(&segment)),
    ]
}

/// A segment of a connection that is translated.
pub(super) fn translated(family: Family) -> Case {
    let syn = family.syn(TRANSLATE);
    let segment = acknowledgment(&reply(&syn));
    let entry = translation(&syn, shift(family), Translation::ESTABLISHED);
    let case = Case::passes(segment.frame()).with(&[entry]);
    case.becomes(&raised(&segment, family))
}
