//! Connections of the accept hand-off.

use proxyip_common::counter::{Counter, DropReason};
use proxyip_common::flow::{FlowRecord, HandOff};
use proxyip_tests::bench::{
    AUTO, FAMILIES, Family, Kernel, LINUX, Program, after, cookie_of, linux_options, no_cookie,
};
use proxyip_tests::packet::{ACK, Packet, RST};

use super::unrelated::{bypassed, translated};
use super::{acknowledgment, data, named, reply};
use crate::class::{Case, Class};

/// What the program for sockets' events notes of a connection that was handed over.
const ACCEPTED: FlowRecord = FlowRecord { hand_off: HandOff::Accept as u8, ..FlowRecord::EMPTY };

pub(super) fn classes() -> Vec<Class> {
    let established = FAMILIES
        .into_iter()
        .flat_map(|family| [incoming(family), outgoing(family), untrusted(family)].concat());
    let mut classes: Vec<_> = established.collect();
    if Program::Ingress.is_possible() {
        classes.extend(FAMILIES.into_iter().flat_map(opening));
    }
    classes
}

fn syn(family: Family) -> Packet {
    family.syn(AUTO).with(|syn| syn.options = linux_options())
}

/// Before there is a socket.
fn opening(family: Family) -> Vec<Class> {
    let first = syn(family);
    let answered = Case::passes(first.frame()).answers().counts(Counter::SynAnswered);
    let bare = acknowledgment(&after(&first, cookie_of(&first, LINUX), ACK, &[]));
    let deferred = Case::passes(bare.frame()).drops().counts(Counter::AckDeferred);
    let mut forged = bare.clone();
    forged.acknowledgment = no_cookie(&mut forged);
    let refused = Case::passes(forged.frame()).answers().counts(Counter::CookieForeign);
    let refused = refused.flooded(false);
    let unanswered = Case::passes(forged.frame()).drops().flooded(true);
    let unanswered = unanswered.counts(Counter::CookieForeignUnanswered);
    vec![
        Class::ingress(named("accept: SYN", family), answered),
        Class::ingress(named("accept: bare ACK of the handshake", family), deferred),
        Class::ingress(named("accept: bare ACK with a forged cookie", family), refused),
        Class::ingress(
            named("accept: bare ACK with a forged cookie, in a flood", family),
            unanswered,
        ),
    ]
}

/// A segment of an established connection.
fn incoming(family: Family) -> Vec<Class> {
    let syn = syn(family);
    let packet = after(&syn, 0x7000_0000, ACK, &[]);
    let (data, ack) = (data(&packet), acknowledgment(&packet));
    let class = |what: &str, packet: &Packet| {
        let case = Case::passes(packet.frame()).record(ACCEPTED);
        let class = Class::ingress(named(what, family), case);
        class.socket(Kernel::Connected, &syn).unlike(foreign(family, packet))
    };
    let queued = class("accept: the clone that comes back", &data);
    let queued = Class { case: queued.case.queued(), contrast: Some(lost(family)), ..queued };
    vec![
        class("accept: data in", &data),
        class("accept: ACK in", &ack),
        class("accept: data in, some are translated", &data).in_use(),
        class("accept: ACK in, some are translated", &ack).in_use(),
        class("accept: RST in", &packet.with(|one| one.flags = RST)),
        queued,
    ]
}

/// The same of a connection that does not exist.
fn foreign(family: Family, packet: &Packet) -> Case {
    let mut stranger = packet.with(|one| (one.from, one.flags) = (family.peer(), ACK));
    stranger.acknowledgment = no_cookie(&mut stranger);
    Case::passes(stranger.frame()).answers().counts(Counter::CookieForeign)
}

/// The clone whose connection was not made.
fn lost(family: Family) -> Case {
    let packet = data(&after(&syn(family), 1, ACK, &[]));
    let case = Case::passes(packet.frame()).queued().drops();
    case.counts(DropReason::PayloadWithoutSocket)
}

/// A segment that leaves. Its socket is one of the kernel's test: it has no record, and the program looks into the table.
fn outgoing(family: Family) -> Vec<Class> {
    let packet = reply(&syn(family));
    let class = |what: &str, packet: &Packet| {
        let class = Class::egress(named(what, family), Case::passes(packet.frame()));
        class.unlike(translated(family))
    };
    let (data, ack) = (data(&packet), acknowledgment(&packet));
    vec![
        class("accept: data out", &data),
        class("accept: data out by a socket without a record, some are translated", &data).in_use(),
        class("accept: ACK out by a socket without a record, some are translated", &ack).in_use(),
    ]
}

fn untrusted(family: Family) -> Vec<Class> {
    vec![Class::ingress(named("untrusted: SYN, bypassed", family), bypassed(family))]
}
