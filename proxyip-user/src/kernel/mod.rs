//! The kernel side: loads, attaches and pins the programs, and reads their maps and events.
//!
//! How the agent uses it:
//! - [`Kernel::start`] blocks and may need no runtime; [`Events::run`] and [`Maintenance::run`] are polled
//!   by one task of a multi-threaded tokio runtime, side by side in a `select!`, so they need not be `Send`.
//! - [`FlowMap`] and [`CounterMap`] are cheap handles; the API reads them on blocking threads.
//! - [`FlowMap::get`] looks through all namespaces the agent serves.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use proxyip_common::counter::{Counter, DropReason, KernelReason};
use proxyip_common::event::Event;
use proxyip_common::flow::{FlowKey, FlowRecord};

use crate::config::{Config, KernelLog};

/// Everything loaded, attached and pinned.
#[derive(Debug)]
pub struct Kernel {}

impl Kernel {
    /// Loads or adopts, attaches and pins.
    pub fn start(_config: &Config, _log: KernelLog) -> Result<Self> {
        unimplemented!()
    }

    /// The parts, each with its own owner.
    pub fn split(self) -> (Events, Maintenance, FlowMap, CounterMap) {
        unimplemented!()
    }
}

/// The ring buffer.
#[derive(Debug)]
pub struct Events {}

impl Events {
    /// Calls `handle` for each event with the header bytes that follow it, until dropped.
    pub async fn run(self, _handle: impl FnMut(&Event, &[u8])) -> Result<Infallible> {
        unimplemented!()
    }
}

/// Secrets, sysctls, routes, links.
#[derive(Debug)]
pub struct Maintenance {}

impl Maintenance {
    /// Keeps the kernel's settings current, until dropped.
    pub async fn run(self) -> Result<Infallible> {
        unimplemented!()
    }
}

/// The flow table.
#[derive(Clone, Debug)]
pub struct FlowMap {}

impl FlowMap {
    /// The flow of this 4-tuple.
    pub fn get(
        &self,
        _peer: SocketAddr,
        _local: SocketAddr,
    ) -> Result<Option<(FlowKey, FlowRecord)>> {
        unimplemented!()
    }

    /// All flows.
    pub fn all(&self) -> impl Iterator<Item = Result<(FlowKey, FlowRecord)>> {
        std::iter::empty()
    }

    /// How many flows there are.
    pub fn count(&self) -> Result<u64> {
        unimplemented!()
    }
}

/// The counters, summed over all CPUs.
#[derive(Clone, Debug)]
pub struct CounterMap {}

impl CounterMap {
    /// What happened, other than drops.
    pub fn counters(&self) -> Result<Vec<(Counter, u64)>> {
        unimplemented!()
    }

    /// Refusals by reason.
    pub fn drops(&self) -> Result<Vec<(DropReason, u64)>> {
        unimplemented!()
    }

    /// Connections left to the kernel by reason.
    pub fn left_to_kernel(&self) -> Result<Vec<(KernelReason, u64)>> {
        unimplemented!()
    }
}

/// Removes everything that is pinned.
pub fn detach(_pin_path: &Path) -> Result<()> {
    unimplemented!()
}
