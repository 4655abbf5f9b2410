//! Says why a listener's connections are translated and not accepted, once for each reason.

use std::collections::BTreeSet;

use anyhow::Result;
use proxyip_common::counter::Obstacle;

use crate::config::HandOffChoice;
use crate::desired::active::Active;
use crate::tables::listeners::ListenerMap;

/// Watches the listeners that decide the hand-off for each connection.
pub(crate) struct Reasons {
    map: ListenerMap,
    /// The listeners that are, or were, watched.
    names: BTreeSet<String>,
    unsaid: Vec<Unsaid>,
}

/// A reason that has not occurred to a listener since the agent was started.
struct Unsaid {
    listener: u16,
    name: String,
    reason: Obstacle,
    /// Connections translated for this reason under agents before this one.
    before: u64,
}

impl Reasons {
    pub(crate) fn new(active: &Active, map: ListenerMap) -> Result<Self> {
        let mut reasons = Self { map, names: BTreeSet::new(), unsaid: Vec::new() };
        reasons.follow(active)?;
        Ok(reasons)
    }

    /// Watches the listeners that are new, and forgets those that have left. One that comes back is new.
    pub(crate) fn follow(&mut self, active: &Active) -> Result<()> {
        let stays = |name: &str| active.named(name).is_some();
        self.names.retain(|name| stays(name));
        self.unsaid.retain(|unsaid| stays(&unsaid.name));
        for (listener, settings) in active.listeners() {
            let is_auto = settings.hand_off == HandOffChoice::Auto;
            if !is_auto || !self.names.insert(settings.name.clone()) {
                continue;
            }
            for reason in Obstacle::ALL.iter().copied() {
                let before = self.map.translated(listener, reason)?;
                self.unsaid.push(Unsaid { listener, name: settings.name.clone(), reason, before });
            }
        }
        Ok(())
    }

    /// Says what has occurred for the first time.
    pub(crate) fn check(&mut self) -> Result<()> {
        let mut left = Vec::with_capacity(self.unsaid.len());
        for unsaid in self.unsaid.drain(..) {
            if self.map.translated(unsaid.listener, unsaid.reason)? == unsaid.before {
                left.push(unsaid);
                continue;
            }
            let Unsaid { name, reason, .. } = unsaid;
            let sentence = reason.sentence();
            tracing::info!(
                reason = reason.label(),
                "listener {name:?}: connections are translated: {sentence}"
            );
        }
        self.unsaid = left;
        Ok(())
    }
}
