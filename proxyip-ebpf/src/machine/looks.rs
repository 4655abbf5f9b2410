//! What the programs have counted and remembered on the simulated host.

use proxyip_common::{
    address::{Endpoint, Local, Peer},
    counter::{Counter, DropReason, Obstacle},
    flow::{FlowKey, FlowRecord},
};

use super::{Machine, NAMESPACE_COOKIE};
use crate::state::{
    counters::{COUNTERS, DROPS, LEFT_TO_KERNEL, LISTENER_COUNTERS},
    flows::FLOWS,
    parts::{HEADER_BYTES, PARTIAL_HEADERS},
};

impl Machine {
    /// What the flow table says.
    pub fn record(&self, peer: Endpoint, local: Endpoint) -> Option<FlowRecord> {
        let key = FlowKey::new(NAMESPACE_COOKIE, Peer(peer), Local(local));
        // SAFETY: read at once.
        FLOWS.get_ptr(&key).map(|record| unsafe { *record })
    }

    /// How many records there are.
    pub fn records(&self) -> usize {
        FLOWS.count()
    }

    /// How often the programs have counted this.
    pub fn counted(&self, counter: Counter) -> u64 {
        COUNTERS.get(counter as u32).copied().unwrap_or_default()
    }

    /// How often the programs have refused for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        DROPS.get(reason as u32).copied().unwrap_or_default()
    }

    /// How many connections were not served by the accept hand-off for this reason.
    pub fn left(&self, reason: Obstacle) -> u64 {
        LEFT_TO_KERNEL.get(reason as u32).copied().unwrap_or_default()
    }

    /// What a counter of a listener says; `counter` is one of [`per_listener`](proxyip_common::counter::per_listener).
    pub fn listener_counted(&self, listener: u16, counter: u32) -> u64 {
        LISTENER_COUNTERS.get(listener.into()).map_or(0, |counters| counters[counter as usize])
    }

    /// How many headers have begun and are remembered, and of how many the bytes are kept.
    pub fn begun_headers(&self) -> (usize, usize) {
        (PARTIAL_HEADERS.count(), HEADER_BYTES.count())
    }
}
