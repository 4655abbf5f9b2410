//! What the API sees of the kernel side.

use anyhow::Result;
use proxyip_common::counter::Obstacle;

use crate::reap::unnoticed::UnnoticedEnds;
use crate::reconcile::remark::Remark;
use crate::supervise::Health;
use crate::tables::drained::DrainedPorts;
use crate::tables::fill::Fills;
use crate::tables::listeners::ListenerMap;
use crate::tables::maps::{CounterMap, FlowMap};
use crate::tables::tally::Tally;
use crate::tables::translations::TranslationMap;
use crate::watch::environment::{Environment, LocatedObstacle};
use crate::watch::guarding::Guarding;
use crate::watch::mistakes::Findings;

/// The maps, and what else decides about connections.
#[derive(Clone)]
pub struct View {
    /// The flow table.
    pub flows: FlowMap,
    /// The counters.
    pub counters: CounterMap,
    /// The listeners.
    pub listeners: ListenerMap,
    /// The table of translated connections.
    pub translations: TranslationMap,
    /// The kernel, and the namespaces' sysctls.
    pub environment: Environment,
    /// Whether the kernel programs are where they belong.
    pub guarding: Guarding,
    /// Whether lists of networks are older than their files.
    pub stale: Remark,
    /// Whether the maps have parts of two configurations.
    pub mixed: Remark,
    /// Which threads of the agent fail.
    pub health: Health,
    /// Ends of connections that the kernel programs were not told of.
    pub unnoticed: UnnoticedEnds,
    /// The ports that are drained.
    pub drained: DrainedPorts,
    /// How full the tables are.
    pub fills: Fills,
    /// What traffic shows of mistakes.
    pub findings: Findings,
    /// Of `flows`.
    pub flow_count: Tally,
    /// Of `translations`.
    pub translated: Tally,
}

impl View {
    /// Why the new connections of this listener, on an ordinary listening socket, cannot get the accept
    /// hand-off;
    /// `None` if they can.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn obstacle(&self, listener: u16) -> Result<Option<LocatedObstacle>> {
        if let Some(obstacle) = self.environment.obstacle() {
            return Ok(Some(obstacle));
        }
        let refuses = self.listeners.stack_refuses(listener)?;
        Ok(refuses.then_some(LocatedObstacle { obstacle: Obstacle::StackRefuses, netns: None }))
    }
}
