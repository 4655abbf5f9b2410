//! What the API reads from the kernel; a trait, so that tests need no kernel programs.

use std::net::SocketAddr;

use anyhow::Result;
use proxyip_common::counter::{Counter, DropReason, KernelReason};
use proxyip_common::flow::{FlowKey, FlowRecord};

use crate::kernel::{CounterMap, FlowMap};

/// A flow as the flow table has it.
type Entry = (FlowKey, FlowRecord);

/// The maps of the kernel programs. Every method may block.
#[expect(clippy::missing_errors_doc, reason = "each fails if the map cannot be read")]
pub trait Source: Send + Sync + 'static {
    /// The flow of a 4-tuple.
    fn flow(&self, peer: SocketAddr, local: SocketAddr) -> Result<Option<Entry>>;
    /// All flows, in no order.
    fn flows(&self) -> Box<dyn Iterator<Item = Result<Entry>> + '_>;
    /// How many flows there are.
    fn flow_count(&self) -> Result<u64>;
    /// What happened, other than drops.
    fn counters(&self) -> Result<Vec<(Counter, u64)>>;
    /// Refusals by reason.
    fn drops(&self) -> Result<Vec<(DropReason, u64)>>;
    /// Connections left to the kernel by reason.
    fn left_to_kernel(&self) -> Result<Vec<(KernelReason, u64)>>;
}

/// The real maps.
#[derive(Clone)]
pub struct KernelSource {
    /// The flow table.
    pub flows: FlowMap,
    /// The counters.
    pub counters: CounterMap,
}

impl Source for KernelSource {
    fn flow(&self, peer: SocketAddr, local: SocketAddr) -> Result<Option<Entry>> {
        self.flows.get(peer, local)
    }

    fn flows(&self) -> Box<dyn Iterator<Item = Result<Entry>> + '_> {
        Box::new(self.flows.all())
    }

    fn flow_count(&self) -> Result<u64> {
        self.flows.count()
    }

    fn counters(&self) -> Result<Vec<(Counter, u64)>> {
        self.counters.counters()
    }

    fn drops(&self) -> Result<Vec<(DropReason, u64)>> {
        self.counters.drops()
    }

    fn left_to_kernel(&self) -> Result<Vec<(KernelReason, u64)>> {
        self.counters.left_to_kernel()
    }
}
