//! What the API reads from the kernel; a trait, so that tests need no kernel programs.

use std::net::SocketAddr;

use anyhow::Result;
use proxyip_api::finding::{Finding, FindingKind};
use proxyip_api::status::DegradedPort;
use proxyip_common::counter::{Counter, DropReason, Obstacle};
use proxyip_common::flow::{FlowKey, FlowRecord};

use super::view::View;
use crate::config::Listener;
use crate::tables::fill::Fill;
use crate::tables::listeners::ListenerCounts;
use crate::tables::maps::Cursor;
use crate::tables::maps::FlowChunk;
use crate::tables::outcomes::{Latency, Outcome};
use crate::watch::environment::LocatedObstacle;
use crate::watch::guarding::Place;

/// An entry of the flow table.
type Entry = (FlowKey, FlowRecord);

/// The maps of the kernel programs. Every method may block.
#[expect(clippy::missing_errors_doc, reason = "each fails if the map cannot be read")]
pub trait Source: Send + Sync + 'static {
    /// The flow of a 4-tuple.
    fn flow(&self, peer: SocketAddr, local: SocketAddr) -> Result<Option<Entry>>;
    /// The clients of peers' and local ends.
    fn clients(&self, ends: &[(SocketAddr, SocketAddr)]) -> Result<Vec<Option<SocketAddr>>>;
    /// The flows among about `about` entries of the table, 0 being its beginning.
    fn flows(&self, from: Cursor, about: usize) -> Result<FlowChunk>;
    /// How many flows there are.
    fn flow_count(&self) -> Result<u64>;
    /// How many flows and how many translated connections there can be.
    fn capacity(&self) -> (u64, u64);
    /// How full the tables are, beside that of flows.
    fn fills(&self) -> Result<Vec<Fill>>;
    /// What happened, other than drops.
    fn counters(&self) -> Result<Vec<(Counter, u64)>>;
    /// Refusals by reason.
    fn drops(&self) -> Result<Vec<(DropReason, u64)>>;
    /// Connections left to the kernel by reason.
    fn left_to_kernel(&self) -> Result<Vec<(Obstacle, u64)>>;
    /// How many connections are translated now.
    fn translated(&self) -> Result<u64>;
    /// Connections of a listener by hand-off.
    fn listener_counts(&self, listener: u16) -> Result<ListenerCounts>;
    /// How a listener's connections ended.
    fn outcomes(&self, listener: u16) -> Result<Vec<Outcome>>;
    /// How long a listener's headers took.
    fn header_latency(&self, listener: u16) -> Result<Latency>;
    /// What keeps new connections from the accept hand-off, whatever their port.
    fn obstacle(&self) -> Option<LocatedObstacle>;
    /// The ports of a listener whose connections get a lesser hand-off for a while.
    fn degraded(&self, listener: &Listener) -> Result<Vec<DegradedPort>>;
    /// Which of a listener's ports are drained by command.
    fn drained(&self, listener: u16, ports: &[u16]) -> Vec<u16>;
    /// What the kernel cannot do; a line each.
    fn limits(&self) -> Vec<String>;
    /// What is not guarded, because kernel programs are not attached, and threads of the agent that fail.
    fn detached(&self) -> Vec<Finding>;
    /// The interfaces that are there to be attached to, each once.
    fn served(&self) -> Vec<Place>;
    /// How often a kernel program or its pin was missing, and was put back.
    fn mended(&self) -> u64;
    /// A sentence while the maps have parts of two configurations.
    fn mixed(&self) -> Option<String>;
    /// Mistakes in the configuration, here or at the load balancer, that show in the traffic.
    fn findings(&self) -> Vec<Finding>;
}

impl Source for View {
    fn flow(&self, peer: SocketAddr, local: SocketAddr) -> Result<Option<Entry>> {
        self.flows.get(peer, local)
    }

    fn clients(&self, ends: &[(SocketAddr, SocketAddr)]) -> Result<Vec<Option<SocketAddr>>> {
        self.flows.clients(ends)
    }

    fn flows(&self, from: Cursor, about: usize) -> Result<FlowChunk> {
        self.flows.chunk(from, about)
    }

    fn flow_count(&self) -> Result<u64> {
        self.flow_count.get(|| self.flows.count())
    }

    fn capacity(&self) -> (u64, u64) {
        (self.flows.capacity(), self.translations.capacity())
    }

    fn fills(&self) -> Result<Vec<Fill>> {
        let mut fills = self.fills.read()?;
        fills.push(self.environment.routes());
        Ok(fills)
    }

    fn counters(&self) -> Result<Vec<(Counter, u64)>> {
        self.counters.counters()
    }

    fn drops(&self) -> Result<Vec<(DropReason, u64)>> {
        self.counters.drops()
    }

    fn left_to_kernel(&self) -> Result<Vec<(Obstacle, u64)>> {
        self.counters.left_to_kernel()
    }

    fn translated(&self) -> Result<u64> {
        self.translated.get(|| self.translations.count())
    }

    fn listener_counts(&self, listener: u16) -> Result<ListenerCounts> {
        self.listeners.counts(listener)
    }

    fn outcomes(&self, listener: u16) -> Result<Vec<Outcome>> {
        self.listeners.outcomes(listener)
    }

    fn header_latency(&self, listener: u16) -> Result<Latency> {
        self.listeners.header_latency(listener)
    }

    fn obstacle(&self) -> Option<LocatedObstacle> {
        self.environment.obstacle()
    }

    fn degraded(&self, listener: &Listener) -> Result<Vec<DegradedPort>> {
        self.degraded(listener)
    }

    fn drained(&self, listener: u16, ports: &[u16]) -> Vec<u16> {
        self.drained.among(listener, ports)
    }

    fn limits(&self) -> Vec<String> {
        self.environment.limits().to_vec()
    }

    fn detached(&self) -> Vec<Finding> {
        let fails = labelled(FindingKind::ThreadFails, self.health.sentences());
        self.guarding.missing().into_iter().chain(fails).collect()
    }

    fn served(&self) -> Vec<Place> {
        self.guarding.served()
    }

    fn mended(&self) -> u64 {
        self.guarding.mended()
    }

    fn mixed(&self) -> Option<String> {
        self.mixed.sentence()
    }

    fn findings(&self) -> Vec<Finding> {
        let stale = labelled(FindingKind::ListsStale, self.stale.sentence());
        let routes = labelled(FindingKind::RoutesFull, self.environment.full_tables());
        let early = labelled(FindingKind::SegmentsEarly, self.early.sentence());
        let redirected = labelled(FindingKind::Redirected, self.redirects.sentences());
        let unnoticed = labelled(FindingKind::EndsUnnoticed, self.unnoticed.sentence());
        let findings = stale.chain(routes).chain(self.guarding.remarks()).chain(early);
        findings.chain(redirected).chain(unnoticed).chain(self.findings.all()).collect()
    }
}

/// Gives sentences the label of their kind.
fn labelled(
    kind: FindingKind,
    sentences: impl IntoIterator<Item = String>,
) -> impl Iterator<Item = Finding> {
    sentences.into_iter().map(move |sentence| Finding::new(kind, sentence))
}
