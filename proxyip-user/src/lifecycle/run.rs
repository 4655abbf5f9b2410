//! The agent: its parts are put together, and run beside each other.

use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use proxyip_common::counter::Counter;
use proxyip_common::event::Event;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::time::{MissedTickBehavior, interval};

use super::kernel::Kernel;
use super::lock::AgentLock;
use super::notify;
use super::parts::Parts;
use super::reload::Reload;
use crate::api::limits::descriptors::lift_limit;
use crate::api::{self, Shared, Sockets, Source};
use crate::config::{Config, ConfigError, KernelLog};
use crate::flowlog::flows::Flows;
use crate::flowlog::queue::{FlowLog, NextLog};
use crate::flowlog::recorder::Recorder;
use crate::host::{bpffs, roots};
use crate::reconcile::reloads::reloads;
use crate::supervise::shield;
use crate::tables::muted::Muted;

/// The signals that the agent obeys.
#[derive(Debug)]
pub struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes notice of signals from now on. Without this, SIGHUP ends a process that still reads long lists. To be
    /// called in a runtime.
    ///
    /// # Errors
    /// If the kernel does not let it.
    pub fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be awaited");
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }
}

/// Runs the agent until SIGINT or SIGTERM. `read` reads the configuration anew.
///
/// # Errors
/// If the agent cannot start, or one of its parts cannot go on.
pub async fn agent(
    config: Config,
    kernel_log: KernelLog,
    signals: Signals,
    read: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
) -> Result<()> {
    let Signals { hangup, mut interrupt, mut terminate } = signals;
    for warning in config.warnings() {
        tracing::warn!("{}", warning.sentence);
    }
    // Each network namespace takes some, before anybody connects.
    lift_limit();
    roots::check(&config.agent)?;
    roots::follow(&config.agent);
    // Otherwise the kernel would refuse the first pin, and not say why.
    bpffs::check(&config.agent.pin_path)?;
    let _lock = AgentLock::take(&config.agent.pin_path)?;
    let sockets = Sockets::bind(&config.api)?;
    let log = FlowLog::open(&config.log)?;
    let lost_lines = log.lost();
    Muted::clear(&config.agent.pin_path);
    let (events, maintenance, view, control, follow) = Kernel::start(&config, kernel_log)?.split();
    let established = maintenance.established.clone();
    let delays = maintenance.delays.clone();
    let epoch_length = maintenance.secrets.epoch_length.clone();
    let refusals = maintenance.spawn(&view.health)?;
    let flows = Arc::new(Flows::new(control.current()));
    let recorder = RefCell::new(Recorder::new(Arc::clone(&flows), log));
    let muted = RefCell::new(Muted::open(&config.agent.pin_path)?);
    muted.borrow_mut().set(recorder.borrow().unwanted())?;
    let counters = view.clone();
    let (reloads, requests) = reloads();
    let shared = Shared::new(api::Parts {
        source: Arc::new(view),
        acl: Arc::new(control.clone()),
        drain: Arc::new(control.clone()),
        flows: Arc::clone(&flows),
        current: control.current(),
        lost_lines: lost_lines.clone(),
        reloads,
    });
    let (server, mut failures) = sockets.serve(shared)?;
    let events = events.wait()?;
    let handle = |event: &Event, header: &[u8]| {
        established.note(event);
        delays.note(event);
        shield(|| recorder.borrow_mut().handle(event, header));
    };
    let exchange = |next: Option<NextLog>| {
        if let Some(next) = next {
            // What happened before belongs to the log as it was.
            events.catch_up(handle);
            recorder.borrow_mut().exchange(next);
            if let Err(error) = muted.borrow_mut().set(recorder.borrow().unwanted()) {
                tracing::error!("the flow log may lack connections: {error:#}");
            }
        }
        // Its file may have been renamed.
        if let Err(error) = recorder.borrow_mut().reopen() {
            tracing::error!("the flow log goes on in the old file: {error:#}");
        }
    };
    let parts = Parts { lost_lines, server, flows, epoch_length };
    let reload = Reload::new((control, follow), read, parts);
    tracing::info!("ready; the API answers on {}", config.api.socket.display());
    notify::ready();

    let result = tokio::select! {
        _ = interrupt.recv() => Ok("SIGINT"),
        _ = terminate.recv() => Ok("SIGTERM"),
        result = events.run(handle, || recorder.borrow_mut().hand_in()) => {
            result.context("the kernel's events cannot be read").map(never)
        }
        ended = record(&recorder, refusals) => never(ended),
        result = reload.run(hangup, requests, exchange) => {
            result.context("the configuration cannot be followed").map(never)
        }
        error = failures.first() => Err(error.context("the API cannot go on")),
        ended = tick(&recorder, &counters) => never(ended),
    };
    notify::stopping();
    recorder.into_inner().close();
    let signal = result?;
    tracing::info!("{signal}: the agent ends, the kernel programs go on working");
    Ok(())
}

async fn tick(recorder: &RefCell<Recorder>, counters: &impl Source) -> Infallible {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watchdog = notify::Watchdog::new();
    loop {
        seconds.tick().await;
        watchdog.goes_on();
        recorder.borrow_mut().tick(events_lost(counters));
    }
}

/// Records the connections that the agent itself refuses.
async fn record(recorder: &RefCell<Recorder>, mut refusals: Receiver<Event>) -> Infallible {
    const AT_ONCE: usize = 64;
    let mut events = Vec::new();
    while refusals.recv_many(&mut events, AT_ONCE).await > 0 {
        for event in events.drain(..) {
            shield(|| recorder.borrow_mut().handle(&event, &[]));
        }
        recorder.borrow_mut().hand_in();
    }
    // The thread that refuses lives as long as the process.
    std::future::pending().await
}

/// How many events were lost in all; 0 if that cannot be read. It does not block for long: a few system calls.
fn events_lost(counters: &impl Source) -> u64 {
    let counters = counters.counters().unwrap_or_default();
    let lost = counters.into_iter().find(|(counter, _)| *counter == Counter::EventLost);
    lost.map_or(0, |(_, count)| count)
}

fn never<T>(infallible: Infallible) -> T {
    match infallible {}
}
