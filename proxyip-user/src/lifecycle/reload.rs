//! Follows the configuration file at SIGHUP, and the files of networks that it names.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::notify;
use crate::config::{Config, ConfigError};
use crate::inputs::watch::Watch;
use crate::reconcile::control::Control;

/// How often to look at the files of networks.
const PERIOD: Duration = Duration::from_secs(1);

/// Puts changes in force.
pub(crate) struct Reload<R> {
    control: Control,
    /// Reads the configuration.
    read: Arc<R>,
    watch: Watch,
}

impl<R: Fn() -> Result<Config, ConfigError> + Send + Sync + 'static> Reload<R> {
    /// `read` reads the configuration anew.
    pub(crate) fn new(control: Control, read: R) -> Self {
        Self { control, read: Arc::new(read), watch: Watch::default() }
    }

    /// Goes on until dropped; `reopen` is called at each SIGHUP, too.
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
                    self.reload().await?;
                }
                _ = ticks.tick() => self.look().await?,
            }
        }
    }

    async fn reload(&self) -> Result<()> {
        notify::reloading();
        let (control, read) = (self.control.clone(), Arc::clone(&self.read));
        let reload = move || {
            let config = read().map_err(|error| match &error {
                ConfigError::Host { .. } => {
                    anyhow::anyhow!(
                        "the file is right, but not what it names on this host:\n{error}"
                    )
                }
                _ => anyhow::anyhow!("\n{error}"),
            })?;
            let warnings = config.warnings();
            control.reload(&config).map(|()| warnings)
        };
        match blocking(reload).await? {
            Ok(warnings) => {
                tracing::info!("SIGHUP: the configuration is in force as it is now");
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                notify::ready();
            }
            Err(error) => {
                tracing::error!("SIGHUP: the old configuration stays in force: {error:#}");
                notify::kept();
            }
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<()> {
        let (control, mut watch) = (self.control.clone(), std::mem::take(&mut self.watch));
        let look = move || {
            if let Err(error) = control.sweep() {
                tracing::error!("lists that were replaced stay, and are tried again: {error:#}");
            }
            let active = Arc::clone(&control.current().borrow());
            let changed = watch.changed(&active.config);
            if changed.is_empty() {
                return watch;
            }
            match control.read_files_again() {
                Ok(()) => say(&changed, &active.config, &control.current().borrow().config),
                Err(error) => {
                    let names = names(&changed);
                    tracing::error!("{names} changed; what was in it stays in force:\n{error:#}");
                    watch.retry(&changed);
                }
            }
            watch
        };
        self.watch = blocking(look).await?;
        Ok(())
    }
}

/// Says which files have other networks now; at the first look all seem to have changed.
fn say(changed: &[PathBuf], before: &Config, now: &Config) {
    if before != now {
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
