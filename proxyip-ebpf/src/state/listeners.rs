//! Listeners and their settings.

use proxyip_common::settings::{ListenerSettings, MAX_LISTENERS, Name};

use crate::{
    frame::segment::Segment,
    kernel::{btf_maps::Array, macros::btf_map},
};

/// Settings of each listener.
#[btf_map]
pub static LISTENERS: Array<ListenerSettings, { MAX_LISTENERS as usize }> = Array::new();

/// Names of the listeners, for the agent.
#[btf_map]
pub static LISTENER_NAMES: Array<Name, { MAX_LISTENERS as usize }> = Array::new();

/// The listener's [`HandOffChoice`](proxyip_common::settings::HandOffChoice) as its value.
#[inline(always)]
pub fn choice(segment: &Segment) -> u8 {
    LISTENERS.get(segment.listener.into()).map_or(0, |listener| listener.hand_off)
}
