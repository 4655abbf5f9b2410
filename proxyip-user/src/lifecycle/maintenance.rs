//! What the agent does all the time, apart from reading events and answering questions.
//!
//! Nothing of this runs on the thread that reads events: it asks the kernel many times a second, and may have to wait.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use proxyip_common::event::Event;
use proxyip_common::settings::{Fallback, PlacedPort};
use tokio::sync::mpsc::{Receiver, channel};

use crate::desired::active::Current;
use crate::reap::partial_headers::PartialHeaders;
use crate::reconcile::control::Control;
use crate::supervise::{Health, Work};
use crate::tables::secrets::Secrets;
use crate::watch::delayed::Delays;
use crate::watch::early;
use crate::watch::gap::{Gap, Policy};
use crate::watch::mistakes::Mistakes;
use crate::watch::reasons::Reasons;
use crate::watch::redirects::Redirects;
use crate::watch::refused::LastEstablished;

/// How often each part has its turn.
const PERIOD: Duration = Duration::from_secs(1);
/// Refusals that wait for the thread that reads events. When there are more, the thread that refuses waits.
const REFUSALS: usize = 1024;

/// Secrets, headers that are late, and what must be noticed.
pub struct Maintenance {
    pub(crate) secrets: Secrets,
    /// Receives each event.
    pub(crate) established: LastEstablished,
    /// Receives each event.
    pub(crate) delays: Delays,
    pub(crate) partial_headers: PartialHeaders,
    pub(crate) watchers: Watchers,
}

/// Those who watch the counters.
pub(crate) struct Watchers {
    pub(crate) current: Current,
    pub(crate) control: Control,
    pub(crate) gap: Gap,
    pub(crate) reasons: Reasons,
    pub(crate) mistakes: Mistakes,
    pub(crate) early: early::Watch,
    pub(crate) redirects: Redirects,
}

impl Maintenance {
    /// Starts a thread for each part. One that fails does not hold up the others. The receiver gets an event for each
    /// connection that the agent refuses.
    ///
    /// # Errors
    /// If there is no thread.
    pub fn spawn(self, health: &Health) -> Result<Receiver<Event>> {
        let Self { mut secrets, mut partial_headers, mut watchers, .. } = self;
        let (tell, refusals) = channel(REFUSALS);
        health.spawn(work("secrets", "renewing the secrets of SYN cookies"), move || {
            secrets.rotate()
        })?;
        health.spawn(work("late-headers", "refusing headers that are late"), move || {
            partial_headers.check(|event| tell.blocking_send(*event).unwrap_or_default())
        })?;
        health.spawn(work("counters", "looking for mistakes in the counters"), move || {
            watchers.check()
        })?;
        Ok(refusals)
    }
}

impl Watchers {
    fn check(&mut self) -> Result<()> {
        if self.current.has_changed().unwrap_or(false) {
            let active = Arc::clone(&self.current.borrow_and_update());
            self.mistakes.follow(&active);
            self.redirects.follow(&active);
            let followed = self.gap.follow(&active).and_then(|()| self.reasons.follow(&active));
            // Else nobody would follow this configuration later.
            followed.inspect_err(|_| self.current.mark_changed())?;
        }
        self.gap.check(&self.control)?;
        self.reasons.check()?;
        self.early.check()?;
        self.mistakes.check()?;
        self.redirects.check()
    }
}

impl Policy for Control {
    fn fall_back(&self, at: PlacedPort, fallback: Fallback) -> Result<()> {
        self.begin_fallback(at, fallback)
    }

    fn end_fallbacks(&self, ended: &[PlacedPort]) -> Result<()> {
        self.end_fallbacks(ended)
    }

    fn is_in_a_set(&self, client: IpAddr) -> Result<bool> {
        self.is_in_a_set(client)
    }
}

fn work(thread: &'static str, purpose: &str) -> Work {
    Work { thread, purpose: purpose.into(), period: PERIOD }
}
