//! What the kernel programs know and count of each listener.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use aya::maps::{Array, MapData, PerCpuArray};
use proxyip_common::counter::Obstacle;
use proxyip_common::counter::per_listener::{self, Counters};

use super::maps::open;
use super::owners::Readable;

/// The counters of the listeners.
#[derive(Clone)]
pub struct ListenerMap {
    counters: Arc<Readable<PerCpuArray<MapData, Counters>>>,
    /// By listener and hand-off.
    refused_by_agent: Arc<Readable<Array<MapData, u64>>>,
}

/// Connections of one listener, by hand-off; each was counted when its header had been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerCounts {
    /// Accept.
    pub accept: u64,
    /// Observe.
    pub observe: u64,
    /// Translate, by reason.
    pub translate: Vec<(Obstacle, u64)>,
    /// Connections of denied clients: reset, dropped or marked.
    pub denied: u64,
    /// Those of trusted sources that began without a header.
    pub headerless: u64,
}

impl ListenerMap {
    /// Opens the maps that an agent has pinned there.
    ///
    /// # Errors
    /// If there are none.
    pub fn open(pin_path: &Path) -> Result<Self> {
        Ok(Self {
            counters: Arc::new(open(pin_path, "LISTENER_COUNTERS")?),
            refused_by_agent: Arc::new(open(pin_path, "REFUSED_BY_AGENT")?),
        })
    }

    /// How many listeners there is room for.
    #[must_use]
    pub fn room(&self) -> u32 {
        self.refused_by_agent.len() / u32::from(per_listener::HAND_OFFS)
    }

    /// What the listener with this index has counted.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn counts(&self, listener: u16) -> Result<ListenerCounts> {
        let counters = self.counters(listener)?;
        let count = |counter: u32| counters[counter as usize];
        let translated = |reason: &Obstacle| count(per_listener::TRANSLATE + *reason as u32);
        Ok(ListenerCounts {
            accept: count(per_listener::ACCEPT),
            observe: count(per_listener::OBSERVE),
            translate: Obstacle::ALL.iter().map(|one| (*one, translated(one))).collect(),
            denied: count(per_listener::DENIED),
            headerless: count(per_listener::HEADERLESS),
        })
    }

    /// Connections handed over by the accept hand-off that have not been established.
    pub(crate) fn gap(&self, listener: u16) -> Result<u64> {
        // Two looks, in this order: a connection that is established in between makes the gap smaller, never larger.
        let accept = self.counter(listener, per_listener::ACCEPT)?;
        Ok(accept.saturating_sub(self.counter(listener, per_listener::ACCEPT_ESTABLISHED)?))
    }

    /// Connections handed over by the accept hand-off and established.
    pub(crate) fn established(&self, listener: u16) -> Result<u64> {
        self.counter(listener, per_listener::ACCEPT_ESTABLISHED)
    }

    /// Connections translated for this reason.
    pub(crate) fn translated(&self, listener: u16, reason: Obstacle) -> Result<u64> {
        self.counter(listener, per_listener::TRANSLATE + reason as u32)
    }

    /// Connections with a good header.
    pub(crate) fn headers(&self, listener: u16) -> Result<u64> {
        let counts = self.counts(listener)?;
        let translate: u64 = counts.translate.iter().map(|(_, count)| count).sum();
        Ok(counts.accept + counts.observe + translate + counts.denied)
    }

    /// Connections with this hand-off that the agent has refused.
    pub(crate) fn refused_by_agent(&self, listener: u16, hand_off: u8) -> Result<u64> {
        let count =
            self.refused_by_agent.get(&per_listener::refused_by_agent(listener, hand_off), 0);
        count.context("the counters cannot be read")
    }

    /// One of [`per_listener`].
    pub(crate) fn counter(&self, listener: u16, counter: u32) -> Result<u64> {
        Ok(self.counters(listener)?[counter as usize])
    }

    /// All counters of a listener, summed over all CPUs.
    pub(super) fn counters(&self, listener: u16) -> Result<Counters> {
        let values = self.counters.get(&listener.into(), 0);
        let values = values.context("the counters cannot be read")?;
        let mut sums = [0; per_listener::COUNT as usize];
        for counters in values.iter() {
            for (sum, count) in sums.iter_mut().zip(counters) {
                *sum += count;
            }
        }
        Ok(sums)
    }
}
