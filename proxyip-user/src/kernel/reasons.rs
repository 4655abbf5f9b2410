//! Says why a listener's connections are translated and not accepted, once for each reason.

use anyhow::Result;
use proxyip_common::counter::Reason;

use super::listeners::ListenerMap;
use crate::config::{Config, HandOffChoice};

/// Watches the listeners whose hand-off is decided for each connection.
pub(super) struct Reasons {
    map: ListenerMap,
    unsaid: Vec<Unsaid>,
}

/// A reason that has not occurred to a listener since the agent was started.
struct Unsaid {
    listener: u16,
    name: String,
    reason: Reason,
    /// Connections translated for this reason under agents before this one.
    before: u64,
}

impl Reasons {
    pub(super) fn new(config: &Config, map: ListenerMap) -> Result<Self> {
        let mut unsaid = Vec::new();
        for (listener, settings) in (0u16..).zip(&config.listeners) {
            if settings.hand_off != HandOffChoice::Auto {
                continue;
            }
            for reason in Reason::ALL.iter().copied() {
                let before = map.translated(listener, reason)?;
                unsaid.push(Unsaid { listener, name: settings.name.clone(), reason, before });
            }
        }
        Ok(Self { map, unsaid })
    }

    /// Says what has occurred for the first time.
    pub(super) fn check(&mut self) -> Result<()> {
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
