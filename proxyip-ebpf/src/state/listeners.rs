//! Listeners and their settings.

use proxyip_common::settings::{DrainedPort, ListenerSettings, MAX_DRAINED, MAX_LISTENERS, Name};

use crate::{
    frame::segment::Segment,
    kernel::{
        bindings::BPF_F_NO_PREALLOC,
        btf_maps::{Array, HashMap},
        macros::btf_map,
    },
};

/// Settings of each listener.
#[btf_map]
pub static LISTENERS: Array<ListenerSettings, { MAX_LISTENERS as usize }> = Array::new();

/// Names of the listeners, for the agent.
#[btf_map]
pub static LISTENER_NAMES: Array<Name, { MAX_LISTENERS as usize }> = Array::new();

/// Ports that refuse new connections, by command. Nobody looks here for a listener that has none.
#[btf_map]
pub static DRAINED: HashMap<
    DrainedPort,
    u8,
    { MAX_DRAINED as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

/// Whether new connections to the segment's port are refused, by command.
#[inline(never)]
pub fn is_drained(segment: &Segment) -> bool {
    let listener = segment.listener;
    let drains = LISTENERS
        .get(listener.into())
        .is_some_and(|settings| settings.has(ListenerSettings::DRAINS));
    let drained = |port| DRAINED.get_ptr(&DrainedPort { listener, port }).is_some();
    drains && (drained(DrainedPort::ALL) || drained(segment.local.0.port()))
}

/// The listener's [`HandOffChoice`](proxyip_common::settings::HandOffChoice) as its value.
#[inline(always)]
pub fn choice(segment: &Segment) -> u8 {
    LISTENERS.get(segment.listener.into()).map_or(0, |listener| listener.hand_off)
}
