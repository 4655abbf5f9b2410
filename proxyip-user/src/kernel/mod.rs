//! The kernel side: loads, attaches and pins the programs, writes their settings, reads their maps and events.
//!
//! One instance of the ingress program is loaded for each network namespace, because its settings are those
//! of the namespace; the programs on sockets are loaded once. All instances share the pinned maps.

mod events;
mod gap;
mod guard;
mod links;
mod maps;
mod namespace;
mod object;
mod pins;
mod pod;
mod routes;
mod secrets;
mod sysctl;

use std::convert::Infallible;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{Array, MapData, MapInfo};
use aya::programs::{CgroupSockAddr, SchedClassifier, SockOps};
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use proxyip_common::settings::{MAX_NAMESPACES, NamespaceSettings};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{MissedTickBehavior, interval};

pub use self::events::Events;
use self::gap::Gap;
use self::links::{Links, root_cgroup};
pub use self::maps::{CounterMap, FlowMap};
use self::namespace::{Namespace, Watcher};
pub use self::pins::detach;
use self::pins::map_directory;
use self::pod::Raw;
use self::secrets::Secrets;
use crate::config::{Config, Interface, KernelLog, Netns};

/// The maps that outlive the agent.
const PINNED: &[&str] = &[
    "NAMESPACES",
    "PORTS",
    "LISTENERS",
    "TRUSTED",
    "ROUTES",
    "SECRETS",
    "FLOWS",
    "SOCKETS",
    "EVENTS",
    "COUNTERS",
    "DROPS",
    "LEFT_TO_KERNEL",
];

const INGRESS: &str = "proxyip_ingress";
const SOCK_OPS: &str = "proxyip_sockops";
const GETPEERNAME: [&str; 2] = ["proxyip_getpeername4", "proxyip_getpeername6"];

/// Everything loaded, attached and pinned.
pub struct Kernel {
    events: Events,
    maintenance: Maintenance,
    flows: FlowMap,
    counters: CounterMap,
}

impl Kernel {
    /// Loads, attaches and pins; takes over what an agent before this one has pinned.
    ///
    /// # Errors
    /// If the kernel lacks something, an interface does not exist, or a permission is missing.
    pub fn start(config: &Config, log: KernelLog) -> Result<Self> {
        let namespaces = open_namespaces(&config.interfaces)?;
        let cgroup = root_cgroup()?;
        let loader = Loader { config, object: object::object()?, log };
        // From here on, what an agent before this one left is changed.
        let mut links = Links::new(&config.agent.pin_path)?;
        let mut sockets = loader.load(0)?;
        loader.compare_flow_table();
        // All programs are loaded before any map is taken out of the object: they need its descriptors.
        let program: &mut SockOps = program_of(&mut sockets, SOCK_OPS)?;
        program.load().context("the socket program is refused by the kernel")?;
        for name in GETPEERNAME {
            let program: &mut CgroupSockAddr = program_of(&mut sockets, name)?;
            program.load().context("the getpeername program is refused by the kernel")?;
        }
        guard::write(&mut sockets, &config.listeners)?;
        let secrets = Secrets::new(&mut sockets)?;

        // Sockets first: a connection that is handed over must be seen when it is established.
        links.sock_ops(program_of(&mut sockets, SOCK_OPS)?, &cgroup)?;
        for name in GETPEERNAME {
            links.getpeername(program_of(&mut sockets, name)?, name, &cgroup)?;
        }

        let cookies: Vec<_> = namespaces.iter().map(|(_, cookie, _)| *cookie).collect();
        let (failed, failures) = channel(1);
        for (namespace, cookie, interfaces) in namespaces {
            let Attached { watcher, logger } = namespace
                .run(|| loader.attach(&mut sockets, &mut links, &interfaces, cookie, &cookies))?;
            watcher.spawn(namespace, failed.clone())?;
            if let Some(logger) = logger {
                tokio::spawn(relay(logger));
            }
        }
        links.detach_others()?;

        let counters = CounterMap::new(&mut sockets)?;
        let gap = Gap::new(counters.clone());
        Ok(Self {
            events: Events::new(&mut sockets)?,
            maintenance: Maintenance { secrets, gap, failures },
            flows: FlowMap::new(&mut sockets, cookies)?,
            counters,
        })
    }

    /// The parts, each with its own owner.
    #[must_use]
    pub fn split(self) -> (Events, Maintenance, FlowMap, CounterMap) {
        (self.events, self.maintenance, self.flows, self.counters)
    }
}

/// The interfaces of each namespace, in the order of the configuration.
fn by_namespace(interfaces: &[Interface]) -> Vec<(&Netns, Vec<&str>)> {
    let mut namespaces: Vec<(&Netns, Vec<&str>)> = Vec::new();
    for interface in interfaces {
        match namespaces.iter_mut().find(|(netns, _)| **netns == interface.netns) {
            Some((_, names)) => names.push(&interface.name),
            None => namespaces.push((&interface.netns, vec![&interface.name])),
        }
    }
    namespaces
}

/// Opens the namespaces and makes sure that their interfaces can be attached to; with their cookies.
fn open_namespaces(interfaces: &[Interface]) -> Result<Vec<(Namespace, u64, Vec<&str>)>> {
    let mut namespaces: Vec<(_, u64, _)> = Vec::new();
    for (netns, interfaces) in by_namespace(interfaces) {
        let namespace = Namespace::open(netns)?;
        let cookie = namespace.run(|| {
            interfaces.iter().try_for_each(|interface| check_interface(interface))?;
            namespace::cookie()
        })?;
        let twice = namespaces.iter().any(|(_, other, _)| *other == cookie);
        ensure!(!twice, "the configuration names a network namespace twice");
        namespaces.push((namespace, cookie, interfaces));
    }
    Ok(namespaces)
}

/// Loads instances of the kernel object.
struct Loader<'a> {
    config: &'a Config,
    object: Vec<u8>,
    log: KernelLog,
}

impl Loader<'_> {
    /// An instance whose ingress program uses entry `namespace` of `NAMESPACES`.
    fn load(&self, namespace: u32) -> Result<Ebpf> {
        let directory = map_directory(&self.config.agent.pin_path);
        fs::create_dir_all(&directory).with_context(|| {
            format!("{} cannot be made: is a BPF file system mounted there?", directory.display())
        })?;
        let mut loader = EbpfLoader::new();
        for map in PINNED {
            loader.map_pin_path(map, directory.join(map));
        }
        loader.map_max_entries("FLOWS", self.config.agent.max_flows);
        loader.override_global("NAMESPACE", &namespace, true);
        let level = self.log as u8;
        loader.override_global("AYA_LOG_LEVEL", &level, true);
        let ebpf = loader.load(&self.object);
        ebpf.context("the kernel refuses the programs' maps (root or CAP_BPF is needed)")
    }

    /// Says so if the flow table that was adopted has another size than the configuration wants.
    fn compare_flow_table(&self) {
        let Config { agent, .. } = self.config;
        let size = MapInfo::from_pin(map_directory(&agent.pin_path).join("FLOWS"));
        if let Ok(size) = size.map(|info| info.max_entries())
            && size != agent.max_flows
        {
            tracing::warn!(
                "the flow table keeps its {size} entries instead of {}: `proxyip detach` before the start \
                 makes a new one",
                agent.max_flows
            );
        }
    }

    /// Attaches to the interfaces of the calling thread's namespace.
    fn attach(
        &self,
        shared: &mut Ebpf,
        links: &mut Links,
        interfaces: &[&str],
        cookie: u64,
        configured: &[u64],
    ) -> Result<Attached> {
        let index = place(shared, cookie, configured)?;
        let mut ebpf = self.load(index)?;
        let program: &mut SchedClassifier = program_of(&mut ebpf, INGRESS)?;
        program.load().context("the ingress program is refused by the kernel")?;
        let watcher = Watcher::new(&mut ebpf, index, cookie)?;
        let program: &mut SchedClassifier = program_of(&mut ebpf, INGRESS)?;
        for interface in interfaces {
            links.ingress(program, &format!("ingress-{cookie}-{interface}"), interface)?;
            tracing::info!("attached to {interface}");
        }
        let logger = match self.log {
            KernelLog::Off => None,
            _ => {
                Some(EbpfLogger::init(&mut ebpf).context("the programs' messages cannot be read")?)
            }
        };
        Ok(Attached { watcher, logger })
    }
}

/// What attaching in a namespace leaves behind.
struct Attached {
    watcher: Watcher,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
}

/// Passes the programs' messages on to the log.
async fn relay(logger: EbpfLogger<&'static dyn log::Log>) -> Result<()> {
    // SAFETY: the descriptor is the ring buffer's, open until the logger is dropped, and never another one.
    let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = logger?;
    loop {
        let mut ready = logger.readable_mut().await?;
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}

/// The entry of `NAMESPACES` that has this cookie, or one that no namespace of `configured` has: a program
/// that is still attached must not see its entry change under it.
fn place(ebpf: &mut Ebpf, cookie: u64, configured: &[u64]) -> Result<u32> {
    let map = ebpf.map_mut("NAMESPACES").context("the kernel object has no map NAMESPACES")?;
    let map: Array<&mut MapData, Raw<NamespaceSettings>> = Array::try_from(map)?;
    let mut cookies = Vec::new();
    for index in 0..MAX_NAMESPACES {
        let Raw(settings) = map.get(&index, 0).context("the settings cannot be read")?;
        cookies.push(settings.cookie);
    }
    let place = [
        cookies.iter().position(|there| *there == cookie),
        cookies.iter().position(|there| *there == 0),
        cookies.iter().position(|there| !configured.contains(there)),
    ];
    let place = place.into_iter().flatten().next();
    let place = place.and_then(|index| u32::try_from(index).ok());
    place.with_context(|| format!("there are more than {MAX_NAMESPACES} network namespaces"))
}

/// Only devices with an Ethernet header can be served.
fn check_interface(interface: &str) -> Result<()> {
    const ETHERNET: u16 = 1;
    const LOOPBACK: u16 = 772;
    match namespace::hardware_type(interface)? {
        ETHERNET | LOOPBACK => Ok(()),
        other => bail!("interface {interface} has no Ethernet header (hardware type {other})"),
    }
}

fn program_of<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
{
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the kernel object has no program {name}"))?;
    program.try_into().with_context(|| format!("program {name} is of another kind"))
}

/// Secrets, and what must be noticed.
pub struct Maintenance {
    secrets: Secrets,
    gap: Gap,
    failures: Receiver<anyhow::Error>,
}

impl Maintenance {
    /// Keeps the secrets current and watches what becomes of connections, until dropped.
    ///
    /// # Errors
    /// If a map cannot be read or written, or a namespace cannot be followed any more.
    pub async fn run(mut self) -> Result<Infallible> {
        const PERIOD: Duration = Duration::from_secs(5);
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.secrets.rotate()?;
                    self.gap.check()?;
                }
                Some(error) = self.failures.recv() => return Err(error),
            }
        }
    }
}
