//! Ports whose connections are translated for a while, because the stack refuses what the accept hand-off gives it.

use proxyip_common::settings::{
    Fallback, HandOffChoice, ListenerSettings, MAX_FALLBACKS, PlacedPort,
};

use crate::{
    frame::segment::Segment,
    kernel::{bindings::BPF_F_NO_PREALLOC, btf_maps::HashMap, clock::now, macros::btf_map},
    state::{listeners::LISTENERS, namespace::settings},
};

/// When accept is tried again, by port and namespace. The agent writes it; nobody looks here unless the listener has
/// [`ListenerSettings::STACK_REFUSES`].
#[btf_map]
pub static FALLBACKS: HashMap<
    PlacedPort,
    Fallback,
    { MAX_FALLBACKS as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

/// Whether the stack refuses connections to this port, so that [`HandOffChoice::Auto`] translates them.
#[inline(always)]
pub fn stack_refuses(segment: &Segment) -> bool {
    let may = LISTENERS.get(segment.listener.into()).is_some_and(|listener| {
        listener.has(ListenerSettings::STACK_REFUSES)
            && listener.hand_off == HandOffChoice::Auto as u8
    });
    may && holds(segment)
}

/// Whether the fallback of the segment's port goes on.
#[inline(never)]
fn holds(segment: &Segment) -> bool {
    let Some(settings) = settings() else { return false };
    let at = PlacedPort::new(settings.cookie, segment.local.0.port());
    let Some(fallback) = FALLBACKS.get_ptr(&at) else { return false };
    // SAFETY: an element of the map; at worst it is another port's by now, and this one's fallback has ended.
    now() < unsafe { (*fallback).until_ns }
}
