//! Keeps the kernel programs' view of a network namespace current.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{Array, MapData};
use proxyip_common::settings::{MAX_NAMESPACES, NamespaceSettings};
use zerocopy::FromZeros as _;

use super::routes::{self, Pace};
use crate::bpf::pod::Raw;
use crate::clock::now_ns;
use crate::host::changes::Changes;
use crate::host::nat::Rules;
use crate::host::netstat;
use crate::host::routes::{Routes, read};
use crate::host::seen::Seen;
use crate::host::served::Entrance;
use crate::host::sysctl;
use crate::supervise::{Health, Rounds, Running, Work};
use crate::tables::maps::{open, take_owned};
use crate::tables::owners::{Readable, claim};
use crate::tables::routes::RouteTrie;
use crate::tables::secrets::EpochLength;

/// How often sysctls are looked at; the kernel does not announce their changes.
const TICK: Duration = Duration::from_secs(1);

/// How long a namespace with many changes waits between two of them.
const REST: Duration = Duration::from_millis(20);

/// What is called with a namespace's cookie when its interfaces or routes have changed.
pub(crate) type Changed = Arc<dyn Fn(u64) + Send + Sync>;

/// The entry of `NAMESPACES` that has this cookie. Without one, a free entry or one that no namespace of `taken` has:
/// the entry of a program that is still attached must not change.
///
/// # Errors
/// If all entries are taken, or the map cannot be read.
pub(crate) fn place(pin_path: &Path, cookie: u64, taken: &[u64]) -> Result<u32> {
    let map: Readable<Array<MapData, Raw<NamespaceSettings>>> = open(pin_path, "NAMESPACES")?;
    let mut cookies = Vec::new();
    for index in 0..MAX_NAMESPACES {
        let Raw(settings) = map.get(&index, 0).context("the settings cannot be read")?;
        cookies.push(settings.cookie);
    }
    place_among(&cookies, cookie, taken)
        .with_context(|| format!("there are more than {MAX_NAMESPACES} network namespaces"))
}

fn place_among(cookies: &[u64], cookie: u64, taken: &[u64]) -> Option<u32> {
    let places = [
        cookies.iter().position(|there| *there == cookie),
        cookies.iter().position(|there| *there == 0),
        cookies.iter().position(|there| !taken.contains(there)),
    ];
    places.into_iter().flatten().next().and_then(|index| u32::try_from(index).ok())
}

/// Writes one namespace's settings and routes, and follows their changes.
pub(crate) struct Watcher {
    settings: Array<MapData, Raw<NamespaceSettings>>,
    table: RouteTrie,
    index: u32,
    cookie: u64,
    epoch_length: EpochLength,
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
        epoch_length: EpochLength,
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
            epoch_length,
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
            epoch_ns: self.epoch_length.get(),
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

    /// Follows the namespace on a thread of its own, until that is stopped. Returns after the first round, which
    /// writes the routes.
    ///
    /// # Errors
    /// If there is no thread. What goes wrong in a round is in `health`.
    pub(crate) fn spawn(
        self,
        entrance: Entrance,
        (health, changed): (&Health, &Changed),
    ) -> Result<Running> {
        let purpose =
            format!("following the sysctls, routes and interfaces of {}", entrance.netns());
        // A round waits by itself.
        let work = Work { thread: "namespace", purpose, period: Duration::ZERO };
        let (first, wait) = sync_channel(1);
        let changed = Arc::clone(changed);
        let follower = Follower { watcher: self, entrance, changed, inside: None, first };
        let running = health.start(work, follower)?;
        wait.recv().context("the thread of the network namespace has ended")?;
        Ok(running)
    }

    /// Leaves nothing of the namespace in the maps, so that another one may have its place.
    fn leave(&mut self) -> Result<()> {
        routes::write(&mut self.table, &mut self.routes, &Routes::default())?;
        let free = NamespaceSettings::new_zeroed();
        self.settings.set(self.index, Raw(free), 0).context("the settings cannot be written")
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
    changed: Changed,
    /// `None` before the first round, and after one that failed.
    inside: Option<Inside>,
    /// Gets a word after each round. Only the first is received.
    first: SyncSender<()>,
}

/// What the thread has while it is in the namespace.
struct Inside {
    changes: Changes,
    pace: Pace,
}

impl Rounds for Follower {
    fn round(&mut self) -> Result<()> {
        let result = self.follow();
        self.first.try_send(()).ok();
        result
    }

    fn end(&mut self) -> Result<()> {
        self.watcher.leave()
    }
}

impl Follower {
    /// Reads what is due, then waits for changes.
    fn follow(&mut self) -> Result<()> {
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
        let cookie = self.entrance.cookie();
        inside.wait(|| (self.changed)(cookie))?;
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
    /// Waits for changes, but no longer than a tick. Calls `changed` when there was one.
    fn wait(&mut self, changed: impl Fn()) -> Result<()> {
        let begin = Instant::now();
        let due = self.pace.due();
        let until = due.map_or(begin + TICK, |due| due.min(begin + TICK));
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.changes.wait(left)? {
                changed();
                if due.is_none() {
                    self.pace.changed(Instant::now());
                    return Ok(());
                }
                // What comes meanwhile is in the table when it is read.
                thread::sleep(REST.min(left));
            }
            if left.is_zero() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_gets_its_own_place_or_one_that_nobody_needs() {
        for (there, cookie, taken, expected) in [
            (&[7, 8, 0][..], 8, &[8][..], Some(1)),
            (&[7, 8, 0], 9, &[9], Some(2)),
            // 7 is of a namespace that has ended, or left the configuration.
            (&[8, 7, 6], 9, &[8, 9], Some(1)),
            (&[8, 7], 9, &[7, 8, 9], None),
        ] {
            assert_eq!(place_among(there, cookie, taken), expected, "{there:?} {cookie}");
        }
    }
}
