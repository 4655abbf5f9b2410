//! What the agent does all the time, apart from reading events and answering questions.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use proxyip_common::event::Event;
use tokio::sync::mpsc::Receiver;
use tokio::time::{MissedTickBehavior, interval};

use crate::desired::active::Current;
use crate::reap::partial_headers::PartialHeaders;
use crate::reconcile::control::Control;
use crate::tables::secrets::Secrets;
use crate::watch::gap::Gap;
use crate::watch::mistakes::Mistakes;
use crate::watch::reasons::Reasons;

/// Secrets, and what must be noticed.
pub struct Maintenance {
    pub(crate) current: Current,
    pub(crate) secrets: Secrets,
    pub(crate) control: Control,
    pub(crate) gap: Gap,
    pub(crate) reasons: Reasons,
    pub(crate) partial_headers: PartialHeaders,
    pub(crate) mistakes: Mistakes,
    pub(crate) failures: Receiver<anyhow::Error>,
}

impl Maintenance {
    /// Takes notice of listeners that have changed.
    fn follow(&mut self) -> Result<()> {
        if self.current.has_changed().unwrap_or(false) {
            let active = Arc::clone(&self.current.borrow_and_update());
            self.gap.follow(&active)?;
            self.reasons.follow(&active)?;
            self.mistakes.follow(&active)?;
        }
        Ok(())
    }

    /// Renews the secrets and watches the counters until dropped. `tell` gets each refused connection.
    ///
    /// # Errors
    /// If a map cannot be read or written, or a thread of the agent cannot go on.
    pub async fn run(mut self, tell: impl Fn(&Event)) -> Result<Infallible> {
        const PERIOD: Duration = Duration::from_secs(1);
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.follow()?;
                    self.secrets.rotate()?;
                    self.gap.check(|listener| self.control.translate(listener))?;
                    self.reasons.check()?;
                    self.partial_headers.check(&tell)?;
                    self.mistakes.check()?;
                }
                Some(error) = self.failures.recv() => return Err(error),
            }
        }
    }
}
