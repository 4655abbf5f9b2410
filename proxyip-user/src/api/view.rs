//! What the API sees of the kernel side.

use std::time::Duration;

use anyhow::Result;
use proxyip_api::status::DegradedPort;

use crate::clock::now_ns;
use crate::config::{Listener, Netns};
use crate::reap::unnoticed::UnnoticedEnds;
use crate::reconcile::remark::Remark;
use crate::supervise::Health;
use crate::tables::drained::DrainedPorts;
use crate::tables::fill::Fills;
use crate::tables::listeners::ListenerMap;
use crate::tables::maps::{CounterMap, FlowMap};
use crate::tables::tally::Tally;
use crate::tables::translations::TranslationMap;
use crate::watch::early::Early;
use crate::watch::environment::Environment;
use crate::watch::fallbacks::{Degraded, Fallbacks};
use crate::watch::guarding::Guarding;
use crate::watch::mistakes::Findings;
use crate::watch::redirects::Found;

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
    /// Connections that ended without a notice to the kernel programs.
    pub unnoticed: UnnoticedEnds,
    /// The ports that are drained.
    pub drained: DrainedPorts,
    /// How full the tables are.
    pub fills: Fills,
    /// Ports that have fallen back to translate.
    pub fallbacks: Fallbacks,
    /// Guarded ports that NAT redirects.
    pub redirects: Found,
    /// What traffic shows of mistakes.
    pub findings: Findings,
    /// Whether first segments come before their connections.
    pub early: Early,
    /// Of `flows`.
    pub flow_count: Tally,
    /// Of `translations`.
    pub translated: Tally,
}

impl View {
    /// The ports of a listener whose connections get a lesser hand-off for a while.
    ///
    /// # Errors
    /// If the clock cannot be read.
    pub fn degraded(&self, listener: &Listener) -> Result<Vec<DegradedPort>> {
        let now_ns = now_ns()?;
        let degraded = self.fallbacks.of(listener, now_ns).into_iter().map(
            |Degraded { at, reason, until_ns }| {
                let netns = match self.environment.netns(at.namespace) {
                    Some(Netns::Path(path)) => path.display().to_string(),
                    Some(Netns::Host) | None => "host".into(),
                };
                let retry = Duration::from_nanos(until_ns.saturating_sub(now_ns));
                let reason = reason.label().into();
                DegradedPort { port: at.port, netns, reason, retry_s: retry.as_secs() }
            },
        );
        Ok(degraded.collect())
    }
}
