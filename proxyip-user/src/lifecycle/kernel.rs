//! The kernel side: loads, attaches and pins the programs, writes their settings, reads their maps and events.
//!
//! Programs are loaded once. In front of those on interfaces each network namespace has programs of its own, which say whose
//! packet it is. All share the pinned maps.

use std::sync::Arc;

use anyhow::Result;
use aya::Ebpf;
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

use super::assembly::Steps;
use super::follow::Follow;
use super::instances::Factory;
use super::maintenance::{Maintenance, Watchers};
use super::requests::Request;
use super::served::{Wanted, cookies, open_namespaces, see_all};
use super::socket_option::SocketOption;
use crate::api::view::View;
use crate::bpf::loader::{Instance, Loader, Options};
use crate::bpf::lookups::Lookups;
use crate::bpf::probe::probe;
use crate::bpf::programs::Loaded;
use crate::bpf::sockets::{self, SocketHook};
use crate::bpf::takeover::Takeover;
use crate::bpf::{attached, cgroup, pins};
use crate::config::{Agent, Config, KernelLog};
use crate::host::capability::Capability;
use crate::host::namespace::Namespace;
use crate::host::served::Served;
use crate::mailbox::{Sender, mailbox};
use crate::reap::unnoticed::Sweeper;
use crate::reconcile::control::Control;
use crate::reconcile::followers::{Followers, Tell};
use crate::reconcile::namespaces::Tables;
use crate::reconcile::sets::Sets;
use crate::supervise::Health;
use crate::tables::events::Events;
use crate::tables::fill::Fills;
use crate::tables::maps::FlowMap;
use crate::tables::ports::Ports;
use crate::tables::redirected::RedirectedPorts;
use crate::tables::secrets::{EpochLength, Secrets};
use crate::tables::sources::Sources;
use crate::watch::delayed::Delays;
use crate::watch::early::{self};
use crate::watch::environment::Environment;
use crate::watch::gap::{self, Gap};
use crate::watch::mistakes::Mistakes;
use crate::watch::reasons::Reasons;
use crate::watch::redirects::Redirects;
use crate::watch::refused::LastEstablished;

/// Everything loaded, attached and pinned.
pub struct Kernel {
    events: Events,
    maintenance: Maintenance,
    view: View,
    control: Control,
    follow: Follow,
}

impl Kernel {
    /// Loads, attaches and pins; takes over what an agent before this one has pinned.
    ///
    /// # Errors
    /// If the kernel lacks something, an interface does not exist, or a permission is missing.
    pub fn start(config: &Config, log: KernelLog) -> Result<Self> {
        let pin_path = &config.agent.pin_path;
        let first = pins::list(pin_path)?.is_empty();
        let started = Self::try_start(config, log);
        // What an agent before this one left goes on, with programs and rules of either.
        if started.is_err()
            && first
            && let Err(error) = attached::remove_all(pin_path)
        {
            tracing::error!("what the failed start attached stays: {error:#}");
        }
        started
    }

    fn try_start(config: &Config, log: KernelLog) -> Result<Self> {
        lift_memory_limit();
        let capability = ask_kernel(config)?;
        let namespaces = open_namespaces(config, &capability)?;
        let cgroup = cgroup::root()?.directory;
        sockets::always().iter().try_for_each(|hook| hook.check(&cgroup))?;
        let takeover = begin_takeover(config, &capability)?;
        let loader = Arc::new(Loader::new(options(&config.agent, log), &capability)?);
        let option = SocketOption::new(Arc::clone(&loader));
        let Verified { mut sockets, lookups, shared } = load(&loader, takeover.as_ref())?;
        option.prepare(&config.api)?;

        // From here on, what an agent before this one left is changed.
        let steps = Steps { config, ports: Ports::open(&config.agent.pin_path)? };
        let health = Health::default();
        let epoch_length = EpochLength::new(config.agent.handshake_timeout);
        let (ask, requests) = mailbox()?;
        let mut factory = Factory {
            loader: Arc::clone(&loader),
            pin_path: steps.pin_path().to_owned(),
            epoch_length: epoch_length.clone(),
            capability: capability.clone(),
            tables: Tables::open(steps.pin_path())?,
            followers: Followers::start(steps.pin_path(), &health, tell(ask.clone()))?,
            home: Arc::new(Namespace::own()?),
        };
        let cookies = cookies(config, &capability)?;
        let prepare = |one: &Wanted| factory.prepare(&one.entrance, &cookies);
        let prepared = namespaces.iter().map(prepare).collect::<Result<Vec<_>>>()?;
        let served = Served::default();
        for one in &prepared {
            served.add(one.member.clone());
        }
        let flows = FlowMap::new(&mut sockets, served.clone(), lookups)?;
        let sets = Sets::new(loader, steps.pin_path(), served.clone());
        let control = steps.put_in_force(sets, flows.clone())?;
        let secrets = Secrets::new(&mut sockets, epoch_length)?;
        let mut targets = steps.targets(factory, control.clone(), served.clone())?;
        for (one, prepared) in namespaces.iter().zip(prepared) {
            targets.take(prepared, &one.target)?;
        }
        let programs = (hooked(&mut sockets)?, shared);
        let mut attachments = steps.attachments(programs, (targets, cgroup), option.clone())?;
        attachments.attach(takeover, &steps.ports)?;
        let guarding = attachments.guarding.clone();
        attachments.spawn(requests, &health)?;
        let follow = Follow::new(ask, capability.clone(), served.clone(), option);

        steps.collect_translations(served.clone(), &health)?;
        let environment = Environment::new(&capability, served.clone());
        let view = steps.view(&mut sockets, flows, environment)?;
        let fills = Fills::open(steps.pin_path(), control.fill_levels())?;
        let drained = control.drained();
        let view = View {
            stale: control.stale(),
            mixed: control.mixed(),
            drained,
            fills,
            health,
            guarding,
            ..view
        };
        Sweeper::open(steps.pin_path(), served.clone(), view.unnoticed.clone())?
            .spawn(&view.health)?;
        let current = control.current();
        let active = Arc::clone(&current.borrow());
        let listeners = &view.listeners;
        let established = LastEstablished::default();
        let delays = Delays::default();
        let maintenance = Maintenance {
            secrets,
            established: established.clone(),
            delays: delays.clone(),
            partial_headers: steps.partial_headers(current.clone(), served.clone())?,
            watchers: Watchers {
                gap: Gap::new(
                    &active,
                    listeners.clone(),
                    served,
                    gap::Ports::new(
                        view.flows.clone(),
                        (established, delays),
                        view.fallbacks.clone(),
                    ),
                )?,
                reasons: Reasons::new(&active, listeners.clone())?,
                mistakes: Mistakes::new(
                    &active,
                    listeners.clone(),
                    Sources::open(steps.pin_path())?,
                    view.findings.clone(),
                )?,
                early: early::Watch::new(view.counters.clone(), view.early.clone())?,
                redirects: Redirects::new(
                    RedirectedPorts::open(steps.pin_path())?,
                    view.environment.clone(),
                    Arc::clone(&active),
                    view.redirects.clone(),
                ),
                control: control.clone(),
                current,
            },
        };
        Ok(Self { events: Events::new(&mut sockets)?, maintenance, view, control, follow })
    }

    /// The parts, each with its own owner.
    #[must_use]
    pub fn split(self) -> (Events, Maintenance, View, Control, Follow) {
        (self.events, self.maintenance, self.view, self.control, self.follow)
    }
}

/// Programs that the kernel has verified. They are not attached yet.
struct Verified {
    /// The programs on sockets.
    sockets: Ebpf,
    lookups: Lookups,
    /// The programs on interfaces.
    shared: Instance,
}

fn load(loader: &Loader, takeover: Option<&Takeover>) -> Result<Verified> {
    let lookups = loader.lookups()?;
    // The first to be loaded makes the maps, and the rest reads them.
    takeover.map_or(Ok(()), Takeover::copy_settings)?;
    Ok(Verified { lookups, sockets: loader.sockets()?, shared: loader.interfaces()? })
}

/// The programs on sockets that every agent has.
fn hooked(sockets: &mut Ebpf) -> Result<Vec<(SocketHook, Loaded)>> {
    let hooks = sockets::always().iter().copied();
    hooks.map(|hook| Ok((hook, hook.loaded(sockets)?))).collect()
}

/// What another version has left; `None` if that is nothing.
fn begin_takeover(config: &Config, capability: &Capability) -> Result<Option<Takeover>> {
    let takeover = Takeover::begin(&config.agent.pin_path)?;
    if takeover.is_some() {
        see_all(config, capability)?;
    }
    Ok(takeover)
}

/// What the kernel can do; an error if that is too little.
fn ask_kernel(config: &Config) -> Result<Capability> {
    let capability = probe()?;
    capability.check(config)?;
    for limit in capability.limits() {
        tracing::warn!("{limit}");
    }
    Ok(capability)
}

/// Passes on that a namespace has changed.
fn tell(ask: Sender<Request>) -> Tell {
    // Nobody listens when the agent ends.
    Arc::new(move |cookie| drop(ask.send(Request::Changed(cookie))))
}

/// What the loader needs to know of the configuration.
pub(super) fn options(agent: &Agent, log: KernelLog) -> Options {
    let Agent { pin_path, max_flows, max_translated, max_listeners, .. } = agent.clone();
    Options { pin_path, max_flows, max_translated, max_listeners, log_level: log as u8 }
}

/// Before Linux 5.11, maps and programs count as locked memory, and the limit of a process may be low. A failure here
/// is ignored: a later step fails with a better message.
fn lift_memory_limit() {
    if let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY) {
        tracing::debug!("the limit of locked memory stays as it is: {error}");
    }
}
