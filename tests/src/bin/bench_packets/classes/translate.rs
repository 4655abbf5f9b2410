//! Connections that are translated.

use proxyip_common::counter::{Counter, Obstacle};
use proxyip_common::flow::{HandOff, Translation};
use proxyip_tests::bench::{
    Entry, FAMILIES, Family, Kernel, TIMESTAMPS, TRANSLATE, after, handshake, linux_options,
    translation,
};
use proxyip_tests::packet::{ACK, Packet, RST};

use super::{acknowledgment, data, named, reply};
use crate::class::{Case, Class};

/// An acknowledgment number; those of the kernel's SYN-ACKs are not looked at.
const ANY: u32 = 0x7000_0000;

pub(super) fn classes() -> Vec<Class> {
    FAMILIES
        .into_iter()
        .flat_map(|family| [opening(family), incoming(family), outgoing(family)].concat())
        .collect()
}

/// How many bytes a header has.
pub(super) fn shift(family: Family) -> u16 {
    family.header().len().try_into().expect("a short header")
}

fn lowered(packet: &Packet, family: Family) -> Packet {
    packet.with(|one| one.sequence = one.sequence.wrapping_sub(shift(family).into()))
}

pub(super) fn raised(packet: &Packet, family: Family) -> Packet {
    let shift = u32::from(shift(family));
    packet.with(|one| one.acknowledgment = one.acknowledgment.wrapping_add(shift))
}

fn syn(family: Family) -> Packet {
    family.syn(TRANSLATE).with(|syn| syn.options = linux_options())
}

fn established(syn: &Packet, family: Family) -> Entry {
    translation(syn, shift(family), Translation::ESTABLISHED)
}

fn opening(family: Family) -> Vec<Class> {
    let first = syn(family);
    let entry = handshake(&first, HandOff::Translate, Obstacle::Configured);
    let remembered = Case::passes(first.frame()).leaves(&[entry]);
    let waiting = syn(family);
    let entry = handshake(&waiting, HandOff::Translate, Obstacle::Configured);
    let bare = acknowledgment(&after(&waiting, ANY, ACK, &[]));
    let deferred = Case::passes(bare.frame()).with(&[entry]).drops().counts(Counter::AckDeferred);
    vec![
        Class::ingress(named("translate: SYN", family), remembered).in_use(),
        Class::ingress(named("translate: bare ACK of the handshake", family), deferred)
            .in_use()
            .socket(Kernel::Request, &waiting),
    ]
}

/// A segment behind the first one.
fn later(syn: &Packet) -> Packet {
    after(syn, ANY, ACK, &[]).with(|one| one.sequence = 0x1234_9999)
}

/// A segment whose connection the table does not have: its socket says by how much to lower.
fn by_socket(what: &str, family: Family, change: impl FnOnce(&Packet) -> Packet) -> Class {
    let syn = syn(family);
    let packet = change(&later(&syn));
    let case = Case::passes(packet.frame()).ahead(shift(family).into());
    Class::ingress(named(what, family), case.becomes(&lowered(&packet, family)))
        .in_use()
        .socket(Kernel::Connected, &syn)
}

fn incoming(family: Family) -> Vec<Class> {
    let syn = syn(family);
    let entry = established(&syn, family);
    let packet = later(&syn);
    let class = |what: &str, packet: &Packet| {
        let case = Case::passes(packet.frame()).with(&[entry]).becomes(&lowered(packet, family));
        Class::ingress(named(what, family), case).in_use()
    };
    let reset = packet.with(|one| one.flags = RST);
    let mut reset = class("translate: RST in", &reset);
    reset.case.leaves = vec![translation(&syn, shift(family), Translation::RESET)];
    vec![
        by_socket("translate: data in", family, data),
        by_socket("translate: ACK in", family, acknowledgment),
        class("translate: data in for no socket", &data(&packet)),
        reset,
    ]
}

fn outgoing(family: Family) -> Vec<Class> {
    let syn = syn(family);
    let entry = established(&syn, family);
    let packet = reply(&syn);
    let class = |what: &str, packet: &Packet, seen: &Packet| {
        let case = Case::passes(packet.frame()).with(&[entry]).becomes(seen);
        Class::egress(named(what, family), case).in_use()
    };
    let (data, ack) = (data(&packet), acknowledgment(&packet));
    let blocks = |raise: u32| {
        let edges = [0x1235_0000, 0x1235_1000_u32].map(|edge| edge.wrapping_add(raise));
        let edges: Vec<_> = edges.into_iter().flat_map(u32::to_be_bytes).collect();
        [&TIMESTAMPS[..], &[1, 1, 5, 10], &edges].concat()
    };
    let selective = ack.with(|one| one.options = blocks(0));
    let seen = raised(&selective, family).with(|one| one.options = blocks(shift(family).into()));
    vec![
        class("translate: data out", &data, &raised(&data, family)),
        class("translate: ACK out", &ack, &raised(&ack, family)),
        class("translate: ACK out with a SACK block", &selective, &seen),
    ]
}
