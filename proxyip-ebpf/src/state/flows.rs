//! The flow table, and the key of a flow.

use proxyip_common::flow::{FlowKey, FlowRecord};

use crate::{
    frame::segment::Segment,
    kernel::{btf_maps::LruHashMap, macros::btf_map},
    state::{memory::Memory, namespace::settings},
};

/// The flow table. Eviction takes a flow from lookups, never from its application: see [`SOCKETS`](crate::state::storage::SOCKETS).
#[btf_map]
pub static FLOWS: LruHashMap<FlowKey, FlowRecord, 262_144> = LruHashMap::new();

/// Puts the segment's 4-tuple into `memory.event`.
#[inline(always)]
pub fn set_key(segment: &Segment, memory: &Memory) {
    let namespace = settings().map_or(0, |settings| settings.cookie);
    memory.set_key(FlowKey::new(namespace, segment.peer, segment.local));
}

/// Puts the segment's flow into `memory.event`, where map operations and events take it from.
#[inline(always)]
pub fn set_flow(segment: &Segment, memory: &Memory) {
    set_key(segment, memory);
    memory.set_record(FlowRecord { listener: segment.listener, ..FlowRecord::EMPTY });
}

/// Forgets what the table may still hold of this 4-tuple, and leaves its key in `memory.event`: a record
/// that TCP never made a socket from must not be found by a connection that the kernel makes itself.
#[inline(always)]
pub fn remove_flow(segment: &Segment, memory: &Memory) {
    set_flow(segment, memory);
    // Mostly there is none. To remove it, the kernel would lock the bucket all the same.
    if FLOWS.get_ptr(memory.key()).is_some() {
        let _ = FLOWS.remove(memory.key());
    }
}
