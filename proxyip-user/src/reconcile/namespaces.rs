//! Keeps the kernel programs' view of a network namespace current.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, LpmTrie, MapData};
use futures_util::StreamExt;
use nix::net::if_::{if_nameindex, if_nametoindex};
use proxyip_common::settings::{NamespaceSettings, ScopedAddress};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::sync::mpsc::Sender;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::bpf::pod::Raw;
use crate::clock::nanoseconds;
use crate::host::namespace::Namespace;
use crate::host::netstat;
use crate::host::routes::{self, Routes};
use crate::host::seen::Seen;
use crate::host::sysctl;
use crate::tables::maps::take_owned;
use crate::tables::owners::claim;

/// How often sysctls are looked at; the kernel does not announce their changes.
const TICK: Duration = Duration::from_secs(1);
/// How long to wait for more changes of the routing table before it is read.
const SETTLE: Duration = Duration::from_millis(50);

/// The MSS of a route that an agent before this one wrote: no route's own.
const UNKNOWN: u16 = u16::MAX;

/// Writes one namespace's settings and routes, and follows their changes.
pub(crate) struct Watcher {
    settings: Array<MapData, Raw<NamespaceSettings>>,
    table: LpmTrie<MapData, Raw<ScopedAddress>, u16>,
    index: u32,
    cookie: u64,
    epoch_ns: u64,
    timestamp_offset: u32,
    written: Option<NamespaceSettings>,
    routes: Routes,
    /// What is attached to, with its index.
    interfaces: Vec<(String, u32)>,
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
        let table: LpmTrie<MapData, Raw<ScopedAddress>, u16> = take_owned(ebpf, &claim!("ROUTES"))?;
        // What an agent before this one wrote counts as known, so that stale entries are removed.
        let scope = index.to_be_bytes();
        let keys = table.keys().filter_map(Result::ok).map(|key| (key.data().0, key.prefix_len()));
        let routes = keys.filter(|(address, _)| address.scope == scope);
        let routes: Routes = routes.map(|key| (key, UNKNOWN)).collect();
        let mut watcher = Self {
            settings,
            table,
            index,
            cookie,
            epoch_ns: nanoseconds(handshake_timeout),
            timestamp_offset,
            written: None,
            routes,
            interfaces: Vec::new(),
            seen: Arc::default(),
        };
        watcher.write()?;
        Ok(watcher)
    }

    /// What is seen of the namespace, from now on.
    pub(crate) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }

    /// Notes the attached interfaces. Call it in the namespace.
    pub(crate) fn attached(&mut self, interfaces: &[&str]) -> Result<()> {
        let index = |name: &&str| {
            let index = if_nametoindex(*name).with_context(|| format!("interface {name}"))?;
            Ok(((*name).to_owned(), index))
        };
        self.interfaces = interfaces.iter().map(index).collect::<Result<_>>()?;
        Ok(())
    }

    /// By their indexes: a renamed interface stays attached.
    fn miss_interfaces(&self) {
        // Without an answer, the last one counts.
        let Ok(all) = if_nameindex() else { return };
        let is_there = |wanted: u32| all.iter().any(|interface| interface.index() == wanted);
        let gone = self.interfaces.iter().filter(|(_, index)| !is_there(*index));
        let gone: Vec<_> = gone.map(|(name, _)| name.clone()).collect();
        for name in self.seen.set_gone(gone) {
            tracing::error!(
                "interface {name} is gone: connections over another one of its name keep their headers until the \
                 agent is restarted"
            );
        }
    }

    /// Writes what has changed.
    fn write(&mut self) -> Result<()> {
        self.miss_interfaces();
        self.seen.set_fin_timeout(sysctl::fin_timeout()?);
        self.seen.set_overflows(netstat::listen_overflows());
        let mut settings = NamespaceSettings {
            cookie: self.cookie,
            epoch_ns: self.epoch_ns,
            timestamp_offset: self.timestamp_offset,
            ..sysctl::read()?
        };
        if !self.routes.is_empty() {
            settings.flags |= NamespaceSettings::ROUTE_MSS;
        }
        self.seen.set_flags(settings.flags);
        if self.written != Some(settings) {
            self.settings
                .set(self.index, Raw(settings), 0)
                .context("the settings cannot be written")?;
            tracing::debug!(?settings, "settings of a network namespace");
            self.written = Some(settings);
        }
        Ok(())
    }

    /// Follows the namespace on its own thread, for the life of the process. An error goes to `failed`. Returns when
    /// the routes are written.
    pub(crate) fn spawn(self, namespace: Namespace, failed: Sender<anyhow::Error>) -> Result<()> {
        let (routes_written, wait) = sync_channel(1);
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let result = namespace
                .enter()
                .and_then(|()| runtime.context("the runtime cannot be started"))
                .and_then(|runtime| runtime.block_on(self.follow(routes_written)));
            if let Err(error) = result {
                failed.blocking_send(error).ok();
            }
        };
        thread::Builder::new()
            .name("namespace".into())
            .spawn(run)
            .context("no thread for the network namespace")?;
        // If the thread has ended, `failed` has the reason.
        wait.recv().ok();
        Ok(())
    }

    async fn follow(mut self, routes_written: SyncSender<()>) -> Result<()> {
        let groups = [MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route, MulticastGroup::Link];
        let (connection, handle, mut changes) =
            new_multicast_connection(&groups).context("no netlink socket")?;
        tokio::spawn(connection);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.follow_routes(&handle).await?;
        routes_written.send(()).ok();
        loop {
            tokio::select! {
                _ = ticks.tick() => self.write()?,
                change = changes.next() => {
                    change.context("the netlink socket has closed")?;
                    sleep(SETTLE).await;
                    while futures_util::FutureExt::now_or_never(changes.next()).is_some() {}
                    self.follow_routes(&handle).await?;
                }
            }
        }
    }

    async fn follow_routes(&mut self, handle: &rtnetlink::Handle) -> Result<()> {
        let scope = self.index;
        let new = routes::read(handle, scope).await?;
        for ((address, bits), mss) in &new {
            if self.routes.get(&(*address, *bits)) != Some(mss) {
                let key = Key::new(*bits, Raw(*address));
                self.table.insert(&key, mss, 0).context("the routes cannot be written")?;
            }
        }
        for (address, bits) in self.routes.keys().filter(|key| !new.contains_key(key)) {
            let key = Key::new(*bits, Raw(*address));
            self.table.remove(&key).context("the routes cannot be written")?;
        }
        self.routes = new;
        self.write()
    }
}
