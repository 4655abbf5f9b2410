//! Attaches the kernel programs, and sees to it that they stay where they belong.
//!
//! Others change what is attached: they detach links, delete qdiscs, remove pins and interfaces. What the kernel really
//! has is read back all the time, and mended where that is possible.

use std::fmt;
use std::fs::File;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::net::if_::{if_nameindex, if_nametoindex};
use proxyip_api::finding::{Finding, FindingKind};

use crate::bpf::calls::Target;
use crate::bpf::direction::Direction;
use crate::bpf::filters;
use crate::bpf::in_place::{Change, InPlace};
use crate::bpf::links::{Links, Place};
use crate::bpf::pinned_maps::PinnedMaps;
use crate::bpf::programs::Loaded;
use crate::bpf::sockets::{SocketHook, named};
use crate::config::Netns;
use crate::host::links::check_interface;
use crate::host::served::Entrance;
use crate::supervise::{Health, Work};
use crate::watch::guarding::Guarding;

/// How often to look.
const PERIOD: Duration = Duration::from_secs(1);

/// What belongs where.
pub(super) struct Attachments {
    pub(super) links: Links,
    pub(super) sockets: Vec<(SocketHook, Loaded)>,
    /// The root of the cgroup hierarchy.
    pub(super) cgroup: File,
    pub(super) namespaces: Vec<OfNamespace>,
    pub(super) guarding: Guarding,
}

/// What belongs to one network namespace.
pub(super) struct OfNamespace {
    pub(super) entrance: Entrance,
    /// In the order in which to attach them.
    pub(super) programs: Vec<(Direction, Loaded)>,
    pub(super) interfaces: Vec<Interface>,
    /// The kernel has links for interfaces. Otherwise filters are used.
    pub(super) tcx: bool,
}

/// An interface of the configuration.
pub(super) struct Interface {
    name: String,
    /// Where the programs are attached.
    index: Option<u32>,
}

impl From<&str> for Interface {
    fn from(name: &str) -> Self {
        Self { name: name.into(), index: None }
    }
}

/// An interface that does not exist now, as the begin of a sentence.
#[derive(Debug)]
struct Gone(String);

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(what) = self;
        write!(f, "{what} is gone: the agent attaches to it as soon as it is there again")
    }
}

/// What was found at one place.
type Found = (String, Result<InPlace>);

impl Attachments {
    /// Attaches to the root of the cgroup hierarchy.
    pub(super) fn attach_to_sockets(&mut self) -> Result<()> {
        self.ensure_sockets().into_iter().try_for_each(|(what, found)| {
            found.map(|_| ()).with_context(|| format!("{what} cannot be attached"))
        })
    }

    /// Attaches to the interfaces.
    pub(super) fn attach_to_interfaces(&mut self) -> Result<()> {
        for one in &mut self.namespaces {
            for (what, found) in one.ensure(&mut self.links)? {
                found.with_context(|| format!("{what} cannot be attached"))?;
            }
            let names: Vec<_> = one.interfaces.iter().map(|one| &*one.name).collect();
            tracing::info!("attached to {}", names.join(", "));
        }
        Ok(())
    }

    /// Looks after everything on a thread of its own, for the life of the process.
    pub(super) fn spawn(mut self, maps: PinnedMaps, health: &Health) -> Result<()> {
        let purpose = "looking at what is attached".into();
        health.spawn(Work { thread: "attachments", purpose, period: PERIOD }, move || {
            self.look(&maps);
            Ok(())
        })
    }

    /// Mends what has changed, and reports it.
    fn look(&mut self, maps: &PinnedMaps) {
        let mut missing = Vec::new();
        let mut remarks = Vec::new();
        let mut found = self.ensure_sockets();
        for one in &mut self.namespaces {
            match one.ensure(&mut self.links) {
                Ok(more) => found.extend(more),
                Err(error) => {
                    missing.push(Finding::new(FindingKind::NamespaceLost, format!("{error:#}")));
                }
            }
        }
        for (what, result) in found {
            match result {
                Ok(InPlace { change, before }) => {
                    self.say(&what, change);
                    remarks.extend(before.into_iter().map(|other| came_before(&what, other)));
                }
                Err(error) => missing.push(not_in_place(&error)),
            }
        }
        if self.links.is_hidden() {
            remarks.push(Finding::new(FindingKind::PinsHidden, self.links.hidden_sentence()));
        } else {
            match maps.ensure() {
                Ok(pinned) => pinned.iter().for_each(|map| self.say(map, Change::Pinned)),
                Err(error) => {
                    remarks.push(Finding::new(FindingKind::PinsLost, format!("{error:#}")));
                }
            }
        }
        self.guarding.set(missing, remarks);
    }

    fn say(&self, what: &str, change: Change) {
        match change {
            Change::None => return,
            Change::Attached => tracing::error!(
                "{what} was not attached any more: it is attached again. Connections that came meanwhile kept their \
                 headers"
            ),
            Change::Pinned => tracing::error!("the pin of {what} was gone: it is pinned again"),
        }
        self.guarding.count_mended();
    }

    fn ensure_sockets(&mut self) -> Vec<Found> {
        let Self { links, sockets, cgroup, .. } = self;
        let ensure = |(hook, program): &(SocketHook, Loaded)| {
            let found =
                hook.place(cgroup).and_then(|place| links.ensure(hook.pin, program, &place));
            let what = format!("the program at {}", hook.label);
            let found = found.with_context(|| format!("{what} is not attached"));
            (what, found)
        };
        sockets.iter().map(ensure).collect()
    }
}

impl OfNamespace {
    /// Sees to it that every interface has its programs.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    fn ensure(&mut self, links: &mut Links) -> Result<Vec<Found>> {
        let Self { entrance, programs, interfaces, tcx } = self;
        let cookie = entrance.cookie();
        let within = match entrance.netns() {
            Netns::Host => String::new(),
            Netns::Path(path) => format!(" of {}", path.display()),
        };
        entrance.run(|| {
            let mut found = Vec::new();
            for interface in interfaces.iter_mut() {
                if let Err(error) = interface.find(netns) {
                    let what = format!("interface {}{within}", interface.name);
                    let error = error.context(Gone(what.clone()));
                    found.push((what, Err(error)));
                }
            }
            // Egress first, for all interfaces.
            for (direction, program) in &*programs {
                for interface in interfaces.iter() {
                    let Some(index) = interface.index else { continue };
                    let what = format!(
                        "the {} program of interface {}{within}",
                        direction.label(),
                        interface.name
                    );
                    let in_place = if *tcx {
                        let name = format!("{}-{cookie}-{}", direction.label(), interface.name);
                        let (target, id) = (Target::Interface(index), index.into());
                        let attach_type = direction.tcx();
                        links.ensure(&name, program, &Place { target, id, attach_type })
                    } else {
                        filters::Place::here(*direction, &interface.name).and_then(|place| {
                            let pin = links.want(&place.name());
                            place.ensure(program, &pin)
                        })
                    };
                    let in_place = in_place.with_context(|| format!("{what} is not attached"));
                    found.push((what, in_place));
                }
            }
            Ok(found)
        })
    }
}

impl Interface {
    /// Finds the interface in the calling thread's namespace. One that was renamed stays, until another one gets its
    /// name.
    fn find(&mut self, netns: &Netns) -> Result<()> {
        match if_nametoindex(&*self.name) {
            Ok(index) if self.index == Some(index) => Ok(()),
            Ok(index) => {
                self.index = None;
                check_interface(&self.name, netns)?;
                self.index = Some(index);
                Ok(())
            }
            Err(_) if self.index.is_some_and(exists) => Ok(()),
            Err(error) => {
                self.index = None;
                Err(anyhow!(error))
            }
        }
    }
}

/// Whether there is an interface with this index, whatever its name.
fn exists(index: u32) -> bool {
    if_nameindex().is_ok_and(|all| all.iter().any(|one| one.index() == index))
}

fn not_in_place(error: &anyhow::Error) -> Finding {
    let is_gone = error.is::<Gone>();
    let kind = if is_gone { FindingKind::InterfaceGone } else { FindingKind::NotAttached };
    Finding::new(kind, format!("{error:#}"))
}

fn came_before(what: &str, other: u32) -> Finding {
    let sentence = format!(
        "{} runs before {what}: connections that it lets pass itself are not guarded. Let its owner attach it behind, or \
         restart the agent, which comes first again",
        named(other)
    );
    Finding::new(FindingKind::OtherProgramFirst, sentence)
}
