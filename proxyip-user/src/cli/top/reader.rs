//! Asks the agent again and again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use proxyip_api::clients::Clients;
use proxyip_api::status::Status;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::state::{Counted, Pace, Sample};
use crate::client::{self, escaped};

/// An agent that takes longer is as good as gone.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clients that are asked for.
const CLIENTS: u16 = 100;
/// For each reading of flows the agent goes through its table: of its time it may spend one part in so many on it.
const SHARE: u32 = 10;

/// Asks the agent.
pub(super) struct Reader {
    socket: PathBuf,
    counted: Counted,
    /// When flows may be counted again.
    due: Instant,
}

impl Reader {
    pub(super) fn new(socket: &Path) -> Self {
        Self { socket: socket.into(), counted: Counted::default(), due: Instant::now() }
    }

    /// What the agent says now.
    pub(super) async fn read(&mut self) -> Result<Sample> {
        timeout(PATIENCE, self.ask()).await.context("the agent does not answer")?
    }

    async fn ask(&mut self) -> Result<Sample> {
        let (status, _) = client::get::<Status>(&self.socket, "/v1/status").await?;
        let at = Instant::now();
        if at >= self.due {
            self.counted = self.count(&status).await?;
            self.due = Instant::now() + at.elapsed() * SHARE;
        }
        Ok(Sample { at: at.into_std(), status, counted: self.counted.clone() })
    }

    async fn count(&self, status: &Status) -> Result<Counted> {
        let request = format!("/v1/clients?limit={CLIENTS}");
        let (clients, _) = client::get::<Clients>(&self.socket, &request).await?;
        let mut live = BTreeMap::new();
        for listener in &status.listeners {
            let request = format!("/v1/clients?limit=1&listener={}", escaped(&listener.name));
            let (of_listener, _) = client::get::<Clients>(&self.socket, &request).await?;
            live.insert(listener.name.clone(), of_listener.flows);
        }
        Ok(Counted { clients, live })
    }
}

/// Reads once in an interval, unless it is held, until nobody takes what it reads.
pub(super) async fn follow(
    mut reader: Reader,
    mut pace: watch::Receiver<Pace>,
    samples: mpsc::Sender<Result<Sample>>,
) {
    loop {
        let begun = Instant::now();
        if samples.send(reader.read().await).await.is_err() {
            return;
        }
        loop {
            let Pace { interval, held } = *pace.borrow_and_update();
            let next = begun + Duration::from_secs(interval.into());
            tokio::select! {
                () = sleep_until(next), if !held => break,
                changed = pace.changed() => if changed.is_err() { return },
            }
        }
    }
}
