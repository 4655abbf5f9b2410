//! Ports whose connections are translated for a while, because the stack refuses what the accept hand-off gives it, or takes
//! it late.

use proxyip_common::{
    counter::Obstacle,
    settings::{Fallback, HandOffChoice, ListenerSettings, MAX_FALLBACKS, PlacedPort},
};

use crate::{
    frame::segment::Segment,
    kernel::{bindings::BPF_F_NO_PREALLOC, btf_maps::HashMap, clock::now, macros::btf_map},
    state::{listeners::LISTENERS, namespace::settings},
};

const STACK_REFUSES: u8 = Obstacle::StackRefuses as u8;
const DELAYED: u8 = Obstacle::Delayed as u8;
/// In place of a reason: accept is possible.
const NONE: u8 = u8::MAX;

/// When accept is tried again, by port and namespace. The agent writes it; nobody looks here unless the listener has
/// [`ListenerSettings::FALLS_BACK`].
#[btf_map]
pub static FALLBACKS: HashMap<
    PlacedPort,
    Fallback,
    { MAX_FALLBACKS as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

/// Why [`HandOffChoice::Auto`] translates new connections to this port for now.
#[inline(always)]
pub fn fallback(segment: &Segment) -> Option<Obstacle> {
    match reason(segment) {
        STACK_REFUSES => Some(Obstacle::StackRefuses),
        DELAYED => Some(Obstacle::Delayed),
        _ => None,
    }
}

/// Whether the stack refuses connections to this port, also those whose handshake is done.
#[inline(always)]
pub fn stack_refuses(segment: &Segment) -> bool {
    reason(segment) == STACK_REFUSES
}

#[inline(always)]
fn reason(segment: &Segment) -> u8 {
    let may = LISTENERS.get(segment.listener.into()).is_some_and(|listener| {
        listener.has(ListenerSettings::FALLS_BACK) && listener.hand_off == HandOffChoice::Auto as u8
    });
    if may { of_port(segment) } else { NONE }
}

/// The reason for which the segment's port falls back now.
#[inline(never)]
fn of_port(segment: &Segment) -> u8 {
    let Some(settings) = settings() else { return NONE };
    let at = PlacedPort::new(settings.cookie, segment.local.0.port());
    let Some(fallback) = FALLBACKS.get_ptr(&at) else { return NONE };
    // SAFETY: an element of the map; at worst it is another port's by now, and this one's fallback has ended.
    let fallback = unsafe { *fallback };
    if now() < fallback.until_ns { fallback.reason } else { NONE }
}
