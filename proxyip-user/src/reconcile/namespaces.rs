//! Keeps the kernel programs' view of a network namespace current.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{Array, MapData};
use proxyip_common::settings::NamespaceSettings;

use super::routes::{self, Pace};
use crate::bpf::pod::Raw;
use crate::clock::{nanoseconds, now_ns};
use crate::host::changes::Changes;
use crate::host::nat::Rules;
use crate::host::netstat;
use crate::host::routes::{Routes, read};
use crate::host::seen::Seen;
use crate::host::served::Entrance;
use crate::host::sysctl;
use crate::supervise::{Health, Work};
use crate::tables::maps::take_owned;
use crate::tables::owners::claim;
use crate::tables::routes::RouteTrie;

/// How often sysctls are looked at; the kernel does not announce their changes.
const TICK: Duration = Duration::from_secs(1);

/// Writes one namespace's settings and routes, and follows their changes.
pub(crate) struct Watcher {
    settings: Array<MapData, Raw<NamespaceSettings>>,
    table: RouteTrie,
    index: u32,
    cookie: u64,
    epoch_ns: u64,
    timestamp_offset: u32,
    written: Option<NamespaceSettings>,
    rules: Rules,
    routes: Routes,
    seen: Arc<Seen>,
}

impl Watcher {
    /// Writes the settings before anything is attached. `index` is the namespace's place in `NAMESPACES`.
    pub(crate) fn new(
        ebpf: &mut Ebpf,
        index: u32,
        cookie: u64,
        handshake_timeout: Duration,
    ) -> Result<Self> {
        let settings: Array<MapData, Raw<NamespaceSettings>> =
            take_owned(ebpf, &claim!("NAMESPACES"))?;
        let Raw(old) = settings.get(&index, 0).context("the settings cannot be read")?;
        // The clock of timestamps must not jump when an agent takes over.
        let timestamp_offset =
            if old.cookie == cookie { old.timestamp_offset } else { getrandom::u32()? };
        let table = RouteTrie::new(ebpf, index)?;
        let routes = routes::left_by_another(&table);
        let mut watcher = Self {
            settings,
            table,
            index,
            cookie,
            epoch_ns: nanoseconds(handshake_timeout),
            timestamp_offset,
            written: None,
            rules: Rules::default(),
            routes,
            seen: Arc::new(Seen::new(cookie, index)),
        };
        watcher.write()?;
        Ok(watcher)
    }

    /// What is seen of the namespace, from now on.
    pub(crate) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }

    /// Writes what has changed.
    fn write(&mut self) -> Result<()> {
        self.seen.set_fin_timeout(sysctl::fin_timeout()?);
        self.seen.set_overflows(netstat::listen_overflows());
        let mut settings = NamespaceSettings {
            cookie: self.cookie,
            epoch_ns: self.epoch_ns,
            timestamp_offset: self.timestamp_offset,
            nat_since_ns: self.rules.since_ns(now_ns()?),
            ..sysctl::read()?
        };
        if !self.routes.is_empty() {
            settings.flags |= NamespaceSettings::ROUTE_MSS;
        }
        self.seen.set_flags(settings.flags);
        self.seen.set_nat_since_ns(settings.nat_since_ns);
        if self.written != Some(settings) {
            self.settings
                .set(self.index, Raw(settings), 0)
                .context("the settings cannot be written")?;
            tracing::debug!(?settings, "settings of a network namespace");
            self.written = Some(settings);
        }
        Ok(())
    }

    /// Follows the namespace on a thread of its own, for the life of the process. Returns after the first round, which
    /// writes the routes.
    ///
    /// # Errors
    /// If there is no thread. What goes wrong in a round is in `health`.
    pub(crate) fn spawn(self, entrance: Entrance, health: &Health) -> Result<()> {
        let purpose =
            format!("following the sysctls, routes and interfaces of {}", entrance.netns());
        // A round waits by itself.
        let work = Work { thread: "namespace", purpose, period: Duration::ZERO };
        let mut follower = Follower { watcher: self, entrance, inside: None };
        let (first, wait) = sync_channel(1);
        health.spawn(work, move || {
            let result = follower.round();
            // Only the first is received.
            first.try_send(()).ok();
            result
        })?;
        wait.recv().context("the thread of the network namespace has ended")
    }

    fn write_routes(&mut self) -> Result<()> {
        let left = routes::write(&mut self.table, &mut self.routes, &read()?)?;
        self.seen.set_routes(self.routes.len());
        let before = self.seen.set_routes_left(left);
        if before == 0 && left > 0 {
            tracing::error!("{left} routes find no room in the kernel programs' table");
        }
        self.write()
    }
}

/// A thread that follows a namespace.
struct Follower {
    watcher: Watcher,
    entrance: Entrance,
    /// `None` before the first round, and after one that failed.
    inside: Option<Inside>,
}

/// What the thread has while it is in the namespace.
struct Inside {
    changes: Changes,
    pace: Pace,
}

impl Follower {
    /// Reads what is due, then waits for changes.
    fn round(&mut self) -> Result<()> {
        let mut inside = match self.inside.take() {
            Some(inside) => inside,
            None => self.enter()?,
        };
        let begin = Instant::now();
        if inside.pace.is_due(begin) {
            self.watcher.write_routes()?;
            inside.pace.read(begin, begin.elapsed());
        } else {
            self.watcher.write()?;
        }
        inside.wait()?;
        self.inside = Some(inside);
        Ok(())
    }

    fn enter(&mut self) -> Result<Inside> {
        self.entrance.enter()?;
        // A round that failed may not have written what it noted.
        self.watcher.written = None;
        Ok(Inside { changes: Changes::subscribe()?, pace: Pace::new(Instant::now()) })
    }
}

impl Inside {
    fn wait(&mut self) -> Result<()> {
        let now = Instant::now();
        let Some(due) = self.pace.due() else {
            if self.changes.wait(TICK)? {
                self.pace.changed(Instant::now());
            }
            return Ok(());
        };
        thread::sleep(due.saturating_duration_since(now).min(TICK));
        // What came meanwhile is in the table when it is read.
        self.changes.wait(Duration::ZERO)?;
        Ok(())
    }
}
