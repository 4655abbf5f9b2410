//! Network namespaces: entering one, and keeping the kernel programs' view of it current.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, LpmTrie, MapData};
use futures_util::StreamExt;
use nix::sched::{CloneFlags, setns};
use proxyip_common::settings::{NamespaceSettings, ScopedAddress};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::sync::mpsc::Sender;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::maps::take;
use super::pod::Raw;
use super::routes::{self, Routes};
use super::sysctl;
use crate::config::Netns;

/// How often sysctls are looked at; the kernel does not tell of their changes.
const TICK: Duration = Duration::from_secs(1);
/// How long to wait for more changes of the routing table before it is read.
const SETTLE: Duration = Duration::from_millis(50);

/// The MSS of a route that an agent before this one wrote: no route's own.
const UNKNOWN: u16 = u16::MAX;

/// `SO_NETNS_COOKIE` (include/uapi/asm-generic/socket.h).
const SO_NETNS_COOKIE: libc::c_int = 71;

/// A network namespace.
#[derive(Debug)]
pub(super) struct Namespace {
    /// `None` for the namespace that the agent was started in.
    file: Option<File>,
}

impl Namespace {
    pub(super) fn open(netns: &Netns) -> Result<Self> {
        let file = match netns {
            Netns::Host => None,
            Netns::Path(path) => Some(File::open(path).with_context(|| {
                format!("network namespace {} cannot be opened", path.display())
            })?),
        };
        Ok(Self { file })
    }

    /// Runs `work` on a thread in this namespace.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter()?;
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread here.
    fn enter(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        setns(file, CloneFlags::CLONE_NEWNET).context("the network namespace cannot be entered")
    }
}

/// The cookie of the calling thread's namespace: unique while the host is up.
pub(super) fn cookie() -> Result<u64> {
    let mut cookie = 0u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>())?;
    // SAFETY: a new descriptor, closed with its owner; and a value of the length passed.
    let result = unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error()).context("no socket");
        }
        let socket = OwnedFd::from_raw_fd(socket);
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error()).context("the network namespace's cookie cannot be read")
    }
}

/// The hardware type (`ARPHRD_*`) of an interface of the calling thread's namespace.
pub(super) fn hardware_type(interface: &str) -> Result<u16> {
    let missing = || format!("interface {interface} does not exist in this network namespace");
    // SAFETY: a request of zeros is one without a name; a new descriptor, closed with its owner; and a
    // request of the type that SIOCGIFHWADDR takes.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        let room = request.ifr_name.len() - 1;
        for (to, from) in request.ifr_name.iter_mut().take(room).zip(interface.bytes()) {
            *to = from.cast_signed();
        }
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error()).context("no socket");
        }
        let socket = OwnedFd::from_raw_fd(socket);
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) != 0 {
            return Err(io::Error::last_os_error()).with_context(missing);
        }
        Ok(request.ifr_ifru.ifru_hwaddr.sa_family)
    }
}

/// Writes one namespace's settings and routes, and follows their changes.
pub(super) struct Watcher {
    settings: Array<MapData, Raw<NamespaceSettings>>,
    table: LpmTrie<MapData, Raw<ScopedAddress>, u16>,
    index: u32,
    cookie: u64,
    timestamp_offset: u32,
    written: Option<NamespaceSettings>,
    routes: Routes,
}

impl Watcher {
    /// Writes the settings before anything is attached. `index` is the namespace's place in `NAMESPACES`.
    pub(super) fn new(ebpf: &mut Ebpf, index: u32, cookie: u64) -> Result<Self> {
        let settings: Array<MapData, Raw<NamespaceSettings>> = take(ebpf, "NAMESPACES")?;
        let Raw(old) = settings.get(&index, 0).context("the settings cannot be read")?;
        // The clock of timestamps must not jump when an agent takes over.
        let timestamp_offset =
            if old.cookie == cookie { old.timestamp_offset } else { getrandom::u32()? };
        let table: LpmTrie<MapData, Raw<ScopedAddress>, u16> = take(ebpf, "ROUTES")?;
        // What an agent before this one wrote counts as known, so that what is stale is removed.
        let scope = index.to_be_bytes();
        let keys = table.keys().filter_map(Result::ok).map(|key| (key.data().0, key.prefix_len()));
        let routes = keys.filter(|(address, _)| address.scope == scope);
        let routes: Routes = routes.map(|key| (key, UNKNOWN)).collect();
        let mut watcher =
            Self { settings, table, index, cookie, timestamp_offset, written: None, routes };
        watcher.write()?;
        Ok(watcher)
    }

    /// Writes what has changed.
    fn write(&mut self) -> Result<()> {
        let mut settings = NamespaceSettings {
            cookie: self.cookie,
            timestamp_offset: self.timestamp_offset,
            ..sysctl::read()?
        };
        if !self.routes.is_empty() {
            settings.flags |= NamespaceSettings::ROUTE_MSS;
        }
        if self.written != Some(settings) {
            self.settings
                .set(self.index, Raw(settings), 0)
                .context("the settings cannot be written")?;
            tracing::debug!(?settings, "settings of a network namespace");
            self.written = Some(settings);
        }
        Ok(())
    }

    /// Follows the namespace on a thread of its own, for the life of the process; an error goes to `failed`.
    pub(super) fn spawn(self, namespace: Namespace, failed: Sender<anyhow::Error>) -> Result<()> {
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let result = namespace
                .enter()
                .and_then(|()| runtime.context("the runtime cannot be started"))
                .and_then(|runtime| runtime.block_on(self.follow()));
            if let Err(error) = result {
                failed.blocking_send(error).ok();
            }
        };
        thread::Builder::new()
            .name("namespace".into())
            .spawn(run)
            .context("no thread for the network namespace")?;
        Ok(())
    }

    async fn follow(mut self) -> Result<()> {
        let groups = [MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route, MulticastGroup::Link];
        let (connection, handle, mut changes) =
            new_multicast_connection(&groups).context("no netlink socket")?;
        tokio::spawn(connection);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.follow_routes(&handle).await?;
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
