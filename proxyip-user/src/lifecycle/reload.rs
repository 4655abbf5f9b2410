//! Follows the configuration file at SIGHUP and by command, and the files of networks that it names.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::follow::Follow;
use super::notify;
use super::parts::Parts;
use crate::config::{Config, ConfigError};
use crate::flowlog::queue::NextLog;
use crate::heap;
use crate::host::roots;
use crate::inputs::watch::Watch;
use crate::reconcile::control::Control;
use crate::reconcile::files::NotTaken;
use crate::reconcile::reloads::{Outcome, Requests};
use crate::steps::{of_reload, step};

/// How often to look at the files of networks.
const PERIOD: Duration = Duration::from_secs(1);

/// Puts changes in force.
pub(crate) struct Reload<R> {
    control: Control,
    follow: Follow,
    /// Reads the configuration.
    read: Arc<R>,
    watch: Watch,
    parts: Parts,
}

/// How a reload ended, and what is left to do for the thread of events.
struct Reloaded {
    outcome: Outcome,
    /// If the file is in force.
    log: Option<NextLog>,
}

impl<R: Fn() -> Result<Config, ConfigError> + Send + Sync + 'static> Reload<R> {
    /// `read` reads the configuration anew.
    pub(crate) fn new((control, follow): (Control, Follow), read: R, parts: Parts) -> Self {
        Self { control, follow, read: Arc::new(read), watch: Watch::default(), parts }
    }

    /// Goes on until dropped. `requests` are those of commands. `exchange` is called at each reload, with the next flow log if
    /// there is one.
    ///
    /// # Errors
    /// If the kernel's maps cannot be written. What is wrong with a file is no error, but is logged.
    pub(crate) async fn run(
        mut self,
        mut hangup: Signal,
        mut requests: Requests,
        exchange: impl Fn(Option<NextLog>),
    ) -> Result<Infallible> {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = hangup.recv() => {
                    let Reloaded { outcome, log } = self.reload().await?;
                    exchange(log);
                    self.say(&requests, "SIGHUP", &outcome);
                }
                answer = requests.next() => {
                    let Reloaded { outcome, log } = self.reload().await?;
                    exchange(log);
                    self.say(&requests, "by command", &outcome);
                    // Whoever asked may have gone meanwhile.
                    answer.send(outcome).ok();
                }
                _ = ticks.tick() => self.look().await?,
            }
        }
    }

    /// Puts the file in force.
    async fn reload(&self) -> Result<Reloaded> {
        notify::reloading();
        let (control, read) = (self.control.clone(), Arc::clone(&self.read));
        let (follow, parts) = (self.follow.clone(), self.parts.clone());
        let reload = move || {
            let config = read().map_err(|error| sentence(&error))?;
            let done = of_reload(|| put_in_force(&control, (&follow, &parts), &config));
            // Lists may have been long.
            heap::trim();
            done.map_err(|error| format!("{error:#}"))
        };
        Ok(match blocking(reload).await? {
            Ok((log, warnings)) => Reloaded { outcome: Ok(warnings), log: Some(log) },
            Err(sentence) => Reloaded { outcome: Err(sentence), log: None },
        })
    }

    /// Says how a reload ended; `cause` begins what the log says.
    fn say(&self, requests: &Requests, cause: &str, outcome: &Outcome) {
        requests.note(outcome);
        match outcome {
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
            if let Err(NotTaken { files, why }) = control.read_files_again(&changed) {
                let (names, why) = (names(&files), why.join("\n"));
                tracing::error!("{names} changed; what was in it stays in force:\n{why}");
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

/// Puts all of a configuration in force, or nothing of it. Returns its warnings, too.
fn put_in_force(
    control: &Control,
    (follow, parts): (&Follow, &Parts),
    config: &Config,
) -> Result<(NextLog, Vec<String>)> {
    control.check(config)?;
    roots::check(&config.agent)?;
    let old = Arc::clone(&control.current().borrow());
    let prepared = parts.prepare(&old.config, config)?;
    step();
    let warnings = follow.reload(control, config)?;
    step();
    Ok((prepared.put_in_force(), warnings))
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
