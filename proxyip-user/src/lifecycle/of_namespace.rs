//! The programs on the interfaces of one namespace: attaches them, keeps them attached, detaches them.

use std::fmt;

use anyhow::{Context, Result, anyhow};
use nix::net::if_::{if_nameindex, if_nametoindex};

use super::relay::Relay;
use crate::bpf::calls::Target;
use crate::bpf::direction::Direction;
use crate::bpf::filters;
use crate::bpf::in_place::{Change, InPlace};
use crate::bpf::links::{Links, Place};
use crate::bpf::programs::Loaded;
use crate::config::Netns;
use crate::host::links::check_interface;
use crate::host::served::Entrance;
use crate::supervise::Running;

/// What belongs to one network namespace.
pub(super) struct OfNamespace {
    pub(super) entrance: Entrance,
    /// In the order in which to attach them.
    pub(super) programs: Vec<(Direction, Loaded)>,
    pub(super) interfaces: Vec<Interface>,
    pub(super) hooks: Hooks,
    /// Keeps its settings and routes current.
    pub(super) follower: Running,
    /// Only if the programs log.
    pub(super) relay: Option<Relay>,
}

/// What the kernel has for interfaces.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hooks {
    Links,
    Filters,
}

/// An interface of the configuration.
pub(super) struct Interface {
    pub(super) name: String,
    /// Where the programs are attached.
    index: Option<u32>,
    /// The names of the pins, each with its direction.
    pins: Vec<(Direction, String)>,
    /// How many programs are in place.
    ready: usize,
    /// It has had all programs once.
    attached: bool,
}

impl From<&str> for Interface {
    fn from(name: &str) -> Self {
        Self { name: name.into(), index: None, pins: Vec::new(), ready: 0, attached: false }
    }
}

/// What was found at one place.
pub(super) type Found = (String, Result<InPlace>);

/// An interface that does not exist now, as the begin of a sentence.
#[derive(Debug)]
pub(super) struct Gone(String);

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(what) = self;
        write!(f, "{what} is gone: the agent attaches to it as soon as it is there again")
    }
}

/// Where an interface is, as sentences say it behind its name.
struct Within<'a>(&'a Netns);

impl fmt::Display for Within<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Netns::Host => Ok(()),
            Netns::Path(path) => write!(f, " of {}", path.display()),
        }
    }
}

impl OfNamespace {
    /// Wants these interfaces too, if it does not yet.
    pub(super) fn add(&mut self, names: &[&str]) {
        let Self { interfaces, .. } = self;
        for name in names {
            if !interfaces.iter().any(|one| one.name == *name) {
                interfaces.push((*name).into());
            }
        }
    }

    /// Sees to it that every interface has its programs.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub(super) fn ensure(&mut self, links: &mut Links) -> Result<Vec<Found>> {
        let Self { entrance, programs, interfaces, hooks, .. } = self;
        let (cookie, netns) = (entrance.cookie(), entrance.netns());
        let within = Within(netns);
        entrance.run(|| {
            let mut found = Vec::new();
            for interface in interfaces.iter_mut() {
                interface.ready = 0;
                if let Err(error) = interface.find(netns) {
                    let what = format!("interface {}{within}", interface.name);
                    let error = error.context(Gone(what.clone()));
                    found.push((what, Err(error)));
                }
            }
            // Egress first, for all interfaces.
            for program in &*programs {
                for interface in interfaces.iter_mut() {
                    let Some(index) = interface.index else { continue };
                    let (direction, name) = (program.0.label(), &interface.name);
                    let what = format!("the {direction} program of interface {name}{within}");
                    let in_place = interface.ensure(index, program, (*hooks, cookie), links);
                    found.push((
                        what.clone(),
                        in_place.with_context(|| format!("{what} is not attached")),
                    ));
                }
            }
            for interface in interfaces.iter_mut() {
                interface.note(&within, programs.len());
            }
            Ok(found)
        })
    }

    /// Detaches from the interfaces that are not among `names`. Connections must not be handed over without the way
    /// back being translated.
    ///
    /// # Errors
    /// If a program stays attached. Its interface is not forgotten then.
    pub(super) fn release_all_but(&mut self, names: &[&str], links: &mut Links) -> Result<()> {
        let leaves = |one: &Interface| !names.contains(&&*one.name);
        for direction in [Direction::Ingress, Direction::Egress] {
            for interface in self.interfaces.iter_mut().filter(|one| leaves(one)) {
                interface.release(direction, links).with_context(|| {
                    let (name, within) = (&interface.name, Within(self.entrance.netns()));
                    format!("interface {name}{within} is still attached to, though it has left the configuration")
                })?;
            }
        }
        for interface in self.interfaces.iter().filter(|one| leaves(one)) {
            tracing::info!("detached from {}{}", interface.name, Within(self.entrance.netns()));
        }
        self.interfaces.retain(|one| !leaves(one));
        Ok(())
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

    /// Sees to it that it has this program. `within` has the cookie of the calling thread's namespace.
    fn ensure(
        &mut self,
        index: u32,
        (direction, program): &(Direction, Loaded),
        within: (Hooks, u64),
        links: &mut Links,
    ) -> Result<InPlace> {
        let label = direction.label();
        let found = match within {
            (Hooks::Links, cookie) => {
                let pin = format!("{label}-{cookie}-{}", self.name);
                self.pinned(*direction, &pin);
                let (target, attach_type) = (Target::Interface(index), direction.tcx());
                links.ensure(&pin, program, &Place { target, id: index.into(), attach_type })
            }
            (Hooks::Filters, _) => {
                let place = filters::Place::here(*direction, &self.name)?;
                self.pinned(*direction, &place.name());
                place.ensure(program, &links.want(&place.name()))
            }
        }?;
        self.ready += 1;
        // What is attached for the first time has not been missing.
        Ok(if self.attached { found } else { InPlace { change: Change::None, ..found } })
    }

    fn pinned(&mut self, direction: Direction, pin: &str) {
        self.pins.retain(|(there, _)| *there != direction);
        self.pins.push((direction, pin.into()));
    }

    /// Says so when all programs are in place for the first time.
    fn note(&mut self, within: &Within, programs: usize) {
        if !self.attached && self.ready == programs {
            self.attached = true;
            tracing::info!("attached to {}{within}", self.name);
        }
    }

    fn release(&mut self, direction: Direction, links: &mut Links) -> Result<()> {
        if let Some(at) = self.pins.iter().position(|(there, _)| *there == direction) {
            links.release(&self.pins[at].1)?;
            self.pins.remove(at);
        }
        Ok(())
    }
}

/// Whether there is an interface with this index, whatever its name.
fn exists(index: u32) -> bool {
    if_nameindex().is_ok_and(|all| all.iter().any(|one| one.index() == index))
}
