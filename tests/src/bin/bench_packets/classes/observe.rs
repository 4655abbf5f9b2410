//! Connections whose application reads the header itself.

use proxyip_common::counter::Counter;
use proxyip_common::flow::{FlowRecord, HandOff, Origin};
use proxyip_tests::bench::{FAMILIES, Family, Kernel, OBSERVE, after};
use proxyip_tests::packet::ACK;

use super::{data, named};
use crate::class::{Case, Class};

pub(super) fn classes() -> Vec<Class> {
    FAMILIES.into_iter().map(established).collect()
}

/// Data behind the header. If that had not come, it would be missing data.
fn established(family: Family) -> Class {
    let syn = family.syn(OBSERVE);
    let packet = data(&after(&syn, 0x7000_0000, ACK, &[]));
    let packet = packet.with(|data| data.sequence = data.sequence.wrapping_add(1000));
    let record =
        |origin| FlowRecord { hand_off: HandOff::Observe as u8, origin, ..FlowRecord::EMPTY };
    let case = Case::passes(packet.frame());
    let known = case.clone().record(record(Origin::Proxied as u8));
    let awaited = case.record(record(0)).drops().counts(Counter::OutOfOrder);
    Class::ingress(named("observe: data in", family), known)
        .socket(Kernel::Connected, &syn)
        .unlike(awaited)
}
