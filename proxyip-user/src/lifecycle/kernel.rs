//! The kernel side: loads, attaches and pins the programs, writes their settings, reads their maps and
//! events.
//!
//! One instance of the programs on interfaces is loaded for each network namespace, because their settings
//! are those of the namespace; the programs on sockets are loaded once. All instances share the pinned maps.

use std::sync::Arc;

use anyhow::{Result, ensure};
use aya_log::EbpfLogger;
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{Sender, channel};

use super::maintenance::Maintenance;
use crate::api::view::View;
use crate::bpf::direction::Direction;
use crate::bpf::links::{Links, root_cgroup};
use crate::bpf::loader::{Instance, Loader, Options, program_of};
use crate::bpf::probe::probe;
use crate::bpf::programs::{GETPEERNAME, GETSOCKOPT, SOCK_OPS};
use crate::bpf::{attached, pins};
use crate::config::{Agent, Config, Interface, KernelLog, Netns};
use crate::desired::targets::by_namespace;
use crate::host::capability::Capability;
use crate::host::links::check_interface;
use crate::host::namespace::{self, Namespace};
use crate::host::seen::Seen;
use crate::reap::partial_headers::PartialHeaders;
use crate::reap::translations::Collector;
use crate::reconcile::control::Control;
use crate::reconcile::guard::Guard;
use crate::reconcile::namespaces::Watcher;
use crate::reconcile::sets::Sets;
use crate::tables::events::Events;
use crate::tables::listeners::ListenerMap;
use crate::tables::maps::{CounterMap, FlowMap};
use crate::tables::ports::Retired;
use crate::tables::secrets::Secrets;
use crate::tables::tally::Tally;
use crate::tables::translations::TranslationMap;
use crate::watch::environment::Environment;
use crate::watch::gap::Gap;
use crate::watch::mistakes::{Findings, Mistakes};
use crate::watch::reasons::Reasons;

/// Everything loaded, attached and pinned.
pub struct Kernel {
    events: Events,
    maintenance: Maintenance,
    view: View,
    control: Control,
}

impl Kernel {
    /// Loads, attaches and pins; takes over what an agent before this one has pinned.
    ///
    /// # Errors
    /// If the kernel lacks something, an interface does not exist, or a permission is missing.
    pub fn start(config: &Config, log: KernelLog) -> Result<Self> {
        lift_memory_limit();
        let capability = probe()?;
        capability.check(config)?;
        for limit in capability.limits() {
            tracing::warn!("{limit}");
        }
        let namespaces = open_namespaces(&config.interfaces, &capability)?;
        let cookies: Vec<_> = namespaces.iter().map(|one| one.cookie).collect();
        let cgroup = root_cgroup()?;
        let loader = Loader::new(options(&config.agent, log), &capability)?;
        let lookups = loader.lookups()?;
        let mut sockets = loader.sockets(config.api.getsockopt)?;
        let load = |one: &Served| {
            one.namespace.run(|| {
                let mut instance = loader.interfaces(&mut sockets, one.cookie, &cookies)?;
                let (index, timeout) = (instance.index, config.agent.handshake_timeout);
                let watcher = Watcher::new(&mut instance.ebpf, index, one.cookie, timeout)?;
                Ok((instance, watcher))
            })
        };
        let instances = namespaces.iter().map(load).collect::<Result<Vec<_>>>()?;

        // From here on, what an agent before this one left is changed.
        let pin_path = &config.agent.pin_path;
        let mut links = Links::new(pin_path, capability.tcx)?;
        let retired = Retired::default();
        let indexes = namespaces.iter().zip(&instances);
        let indexes =
            indexes.map(|(one, (instance, _))| (one.netns.clone(), instance.index)).collect();
        let flows = FlowMap::new(&mut sockets, cookies, lookups)?;
        let control = Control::start(
            Guard::open(pin_path, retired.clone())?,
            config,
            Sets::new(loader, pin_path, indexes),
            flows.clone(),
            entrances(&namespaces)?,
        )?;
        let current = control.current();
        let active = Arc::clone(&current.borrow());
        let secrets = Secrets::new(&mut sockets, config.agent.handshake_timeout)?;
        // Sockets first: a connection that is handed over must be seen when it is established.
        links.sock_ops(program_of(&mut sockets, SOCK_OPS)?, &cgroup)?;
        for name in GETPEERNAME {
            links.getpeername(program_of(&mut sockets, name)?, name, &cgroup)?;
        }
        if config.api.getsockopt {
            links.getsockopt(program_of(&mut sockets, GETSOCKOPT)?, &cgroup)?;
        }
        let entrances = entrances(&namespaces)?;
        let (failed, failures) = channel(1);
        let seen = attach(namespaces, instances, &mut links, &failed)?;
        let translations = TranslationMap::open(pin_path)?;
        detach_others(&links, &translations)?;

        let partial_headers = PartialHeaders::open(pin_path, current.clone(), entrances)?;
        let listeners = ListenerMap::open(pin_path)?;
        let watched: Vec<_> = seen.iter().map(|(_, seen)| seen.clone()).collect();
        Collector::new(pin_path, retired, watched.clone())?.spawn(failed)?;
        let findings = Findings::default();
        let mistakes = Mistakes::new(&active, listeners.clone(), findings.clone())?;
        let stale = control.stale();
        Ok(Self {
            control: control.clone(),
            events: Events::new(&mut sockets)?,
            maintenance: Maintenance {
                control,
                current,
                secrets,
                gap: Gap::new(&active, listeners.clone(), watched)?,
                reasons: Reasons::new(&active, listeners.clone())?,
                partial_headers,
                mistakes,
                failures,
            },
            view: View {
                stale,
                flows,
                counters: CounterMap::new(&mut sockets)?,
                listeners,
                translations,
                environment: Environment::new(&capability, seen),
                findings,
                flow_count: Tally::default(),
                translated: Tally::default(),
            },
        })
    }

    /// The parts, each with its own owner.
    #[must_use]
    pub fn split(self) -> (Events, Maintenance, View, Control) {
        (self.events, self.maintenance, self.view, self.control)
    }
}

/// What the loader needs to know of the configuration.
pub(super) fn options(agent: &Agent, log: KernelLog) -> Options {
    let Agent { pin_path, max_flows, max_translated, .. } = agent.clone();
    Options { pin_path, max_flows, max_translated, log_level: log as u8 }
}

/// Before Linux 5.11, maps and programs count as locked memory, of which a process may have little. What
/// fails here fails later with a better message.
fn lift_memory_limit() {
    if let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY) {
        tracing::debug!("the limit of locked memory stays as it is: {error}");
    }
}

/// A namespace to be served.
struct Served<'a> {
    namespace: Namespace,
    netns: &'a Netns,
    /// 0 where the kernel programs cannot read it.
    cookie: u64,
    interfaces: Vec<&'a str>,
}

/// Opens the namespaces and makes sure that their interfaces can be attached to.
fn open_namespaces<'a>(
    interfaces: &'a [Interface],
    capability: &Capability,
) -> Result<Vec<Served<'a>>> {
    let mut namespaces: Vec<Served> = Vec::new();
    for (netns, interfaces) in by_namespace(interfaces) {
        let namespace = Namespace::open(netns)?;
        let cookie = namespace.run(|| {
            interfaces.iter().try_for_each(|interface| check_interface(interface))?;
            if capability.netns_cookie { namespace::cookie() } else { Ok(0) }
        })?;
        let twice = namespaces.iter().any(|other| other.cookie == cookie);
        ensure!(!twice, "the configuration names a network namespace twice");
        namespaces.push(Served { namespace, netns, cookie, interfaces });
    }
    Ok(namespaces)
}

/// The namespaces once more, each with its cookie.
fn entrances(namespaces: &[Served]) -> Result<Vec<(u64, Namespace)>> {
    namespaces.iter().map(|one| Ok((one.cookie, Namespace::open(one.netns)?))).collect()
}

/// Attaches to the interfaces of each namespace, and follows it from then on.
fn attach(
    namespaces: Vec<Served>,
    instances: Vec<(Instance, Watcher)>,
    links: &mut Links,
    failed: &Sender<anyhow::Error>,
) -> Result<Vec<(Netns, Arc<Seen>)>> {
    let mut seen = Vec::new();
    for (Served { namespace, netns, interfaces, .. }, (mut instance, mut watcher)) in
        namespaces.into_iter().zip(instances)
    {
        namespace.run(|| {
            instance.attach(links, &interfaces)?;
            watcher.attached(&interfaces)
        })?;
        seen.push((netns.clone(), watcher.seen()));
        watcher.spawn(namespace, failed.clone())?;
        if let Some(logger) = instance.logger {
            tokio::spawn(relay(logger));
        }
    }
    Ok(seen)
}

/// Detaches what an agent before this one attached and this one does not want.
fn detach_others(links: &Links, translations: &TranslationMap) -> Result<()> {
    let others = links.others()?;
    let ingress = |pin| attached::direction(&pins::name(pin)) == Some(Direction::Ingress);
    let living = if others.iter().any(|pin| ingress(pin)) { translations.count()? } else { 0 };
    if living > 0 {
        tracing::warn!(
            "translated connections: {living}; those on interfaces that are detached now will hang \
             (`proxyip detach` before the start lets them end)"
        );
    }
    for pin in others {
        tracing::info!("detaching {}", pin.display());
        attached::detach(&pin)?;
    }
    Ok(())
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
