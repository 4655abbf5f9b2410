//! Follows the configuration file at SIGHUP and by command, and the files of networks that it names.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use proxyip_api::finding::Finding;
use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::follow::Follow;
use super::notify;
use crate::config::{Config, ConfigError};
use crate::inputs::watch::Watch;
use crate::reconcile::control::{Control, NotTaken};
use crate::reconcile::reloads::{Outcome, Requests};

/// How often to look at the files of networks.
const PERIOD: Duration = Duration::from_secs(1);

/// Puts changes in force.
pub(crate) struct Reload<R> {
    control: Control,
    follow: Follow,
    /// Reads the configuration.
    read: Arc<R>,
    watch: Watch,
    requests: Requests,
}

impl<R: Fn() -> Result<Config, ConfigError> + Send + Sync + 'static> Reload<R> {
    /// `read` reads the configuration anew. `requests` are those of commands.
    pub(crate) fn new((control, follow): (Control, Follow), read: R, requests: Requests) -> Self {
        Self { control, follow, read: Arc::new(read), watch: Watch::default(), requests }
    }

    /// Goes on until dropped; `reopen` is called at each reload, too.
    ///
    /// # Errors
    /// If the kernel's maps cannot be written. What is wrong with a file is no error, but is logged.
    pub(crate) async fn run(mut self, mut hangup: Signal, reopen: impl Fn()) -> Result<Infallible> {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = hangup.recv() => {
                    reopen();
                    drop(self.reload("SIGHUP").await?);
                }
                answer = self.requests.next() => {
                    reopen();
                    // Whoever asked may have gone meanwhile.
                    answer.send(self.reload("by command").await?).ok();
                }
                _ = ticks.tick() => self.look().await?,
            }
        }
    }

    /// Puts the file in force; `cause` begins what the log says.
    async fn reload(&self, cause: &str) -> Result<Outcome> {
        notify::reloading();
        let (control, read) = (self.control.clone(), Arc::clone(&self.read));
        let follow = self.follow.clone();
        let reload = move || {
            let config = read().map_err(|error| sentence(&error))?;
            let reload = || follow.reload(&control, &config);
            reload().map_err(|error| format!("{error:#}"))
        };
        let outcome: Outcome = blocking(reload).await?;
        self.requests.note(&outcome);
        match &outcome {
            Ok(warnings) => {
                tracing::info!("{cause}: the configuration is in force as it is now");
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                notify::ready();
            }
            Err(sentence) => {
                let old = "the old configuration stays in force";
                let in_force = self.control.mixed().sentence().unwrap_or_else(|| old.into());
                tracing::error!("{cause}: {in_force}: {sentence}");
                notify::kept();
            }
        }
        Ok(outcome)
    }

    async fn look(&mut self) -> Result<()> {
        let (control, mut watch) = (self.control.clone(), std::mem::take(&mut self.watch));
        let look = move || {
            if let Err(error) = control.sweep() {
                tracing::error!("lists that were replaced stay, and are tried again: {error:#}");
            }
            if let Err(error) = control.mend() {
                tracing::error!("the maps still have parts of two configurations: {error:#}");
            }
            let active = Arc::clone(&control.current().borrow());
            let changed = watch.changed(&active.config);
            if changed.is_empty() {
                return watch;
            }
            let mut taken = changed.clone();
            if let Err(NotTaken { files, error }) = control.read_files_again(&changed) {
                let names = names(&files);
                tracing::error!("{names} changed; what was in it stays in force:\n{error:#}");
                watch.retry(&files);
                taken.retain(|path| !files.contains(path));
            }
            say(&taken, &active.config, &control.current().borrow().config);
            watch
        };
        self.watch = blocking(look).await?;
        Ok(())
    }
}

/// Why a file cannot be read; several mistakes have a line each, below the first.
fn sentence(error: &ConfigError) -> String {
    match error {
        ConfigError::Host { .. } => {
            format!("the file is right, but not what it names on this host:\n{error}")
        }
        _ => format!("\n{error}"),
    }
}

/// Says which files have other networks now; at the first look all seem to have changed.
fn say(changed: &[PathBuf], before: &Config, now: &Config) {
    if before != now && !changed.is_empty() {
        tracing::info!("{} changed: what is in it now is in force", names(changed));
    }
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Does what may take long where it holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.context("a task of the agent ended early")
}
