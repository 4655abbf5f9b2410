//! Connections that have ended and whose cookie may still count.

use proxyip_common::flow::{Ended, FlowKey};

use crate::{
    frame::segment::Segment,
    kernel::{bindings::BPF_ANY, btf_maps::LruHashMap, macros::btf_map},
};

/// The numbers of connections that have ended. Where many end, the oldest make room. A segment of theirs gets no RST in
/// one case of 256. A first segment that comes as late is taken for a new one.
#[btf_map]
pub static ENDED: LruHashMap<FlowKey, Ended, 32_768> = LruHashMap::new();

/// Remembers that the connection has ended. If that fails, it is as if it had been forgotten.
#[inline(always)]
pub fn remember(flow: &FlowKey, ended: &Ended) {
    let _ = ENDED.insert(flow, ended, BPF_ANY.into());
}

/// Whether the segment is of a connection that has ended.
#[inline(always)]
pub fn has(flow: &FlowKey, segment: &Segment) -> bool {
    is(flow, |ended| ended.has(segment.sequence.0, segment.acknowledgment.0))
}

/// Whether the segment is the first one of a connection that has ended, come again.
#[inline(always)]
pub fn began_with(flow: &FlowKey, segment: &Segment) -> bool {
    let (isn, cookie) = (segment.sequence.syn().0, segment.acknowledgment.minus(1).0);
    is(flow, |ended| ended.began_with(isn, cookie))
}

#[inline(always)]
fn is(flow: &FlowKey, fits: impl FnOnce(&Ended) -> bool) -> bool {
    // SAFETY: an element of the map; at worst it is another flow's by now, whose numbers do not fit.
    ENDED.get_ptr(flow).is_some_and(|ended| fits(unsafe { &*ended }))
}
