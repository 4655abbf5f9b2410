//! Sources that are not trusted, and perhaps should be.

use proxyip_common::settings::{LastSource, MAX_LISTENERS};

use crate::{
    frame::segment::Segment,
    kernel::{btf_maps::PerCpuArray, clock::now, macros::btf_map},
};

/// By listener, the last source that was refused because it is not trusted, or that sent a header all the same. The
/// agent names it to the operator.
#[btf_map]
pub static UNTRUSTED_SOURCES: PerCpuArray<LastSource, { MAX_LISTENERS as usize }> =
    PerCpuArray::new();

/// Remembers the segment's source. Call it before the segment is counted.
#[inline(never)]
pub fn note_untrusted(segment: &Segment) {
    if let Some(last) = UNTRUSTED_SOURCES.get_ptr_mut(segment.listener.into()) {
        let source = LastSource { seen_ns: now(), address: segment.peer.0.words() };
        // SAFETY: an element of the map, this CPU's own. The agent reads it twice, until both are the same.
        unsafe { *last = source };
    }
}
