//! One interface: attaches the programs of its namespace to it, and detaches them.

use std::fmt;

use anyhow::{Result, anyhow};
use nix::errno::Errno;
use nix::net::if_::{if_nameindex, if_nametoindex};

use super::door::Door;
use crate::bpf::calls::Target;
use crate::bpf::direction::Direction;
use crate::bpf::filters;
use crate::bpf::in_place::{Change, InPlace};
use crate::bpf::links::{Links, Place};
use crate::bpf::programs::Loaded;
use crate::config::Netns;
use crate::desired::plan::interfaces::{Device, Origin};

/// What the kernel has for interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hooks {
    Links,
    Filters,
}

/// An interface that is to be attached to.
#[derive(Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) origin: Origin,
    /// Where the programs are attached.
    pub(super) index: Option<u32>,
    /// The names of the pins, each with its direction.
    pins: Vec<(Direction, String)>,
    /// How many programs are in place.
    pub(super) ready: usize,
    /// It has had all programs once.
    attached: bool,
    /// Its program at XDP.
    pub(super) door: Door,
}

/// Where an interface is, as sentences say it behind its name.
pub(super) struct Within<'a>(pub(super) &'a Netns);

impl fmt::Display for Within<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Netns::Host => Ok(()),
            Netns::Path(path) => write!(f, " of {}", path.display()),
        }
    }
}

impl Interface {
    /// One that must be there.
    pub(super) fn named(name: &str) -> Self {
        let (name, origin, pins) = (name.into(), Origin::Named, Vec::new());
        Self { name, origin, index: None, pins, ready: 0, attached: false, door: Door::default() }
    }

    /// One that a pattern has found.
    pub(super) fn found(name: &str, index: u32) -> Self {
        Self { origin: Origin::Found, index: Some(index), ..Self::named(name) }
    }

    /// The device in the calling thread's namespace that has its name. One that was renamed stays, until another one gets its
    /// name.
    pub(super) fn device(&self) -> Option<Device> {
        let own = || self.index.filter(|index| exists(*index)).map(Device::Own);
        match if_nametoindex(&*self.name) {
            Ok(index) => Some(Device::OfItsName(index)),
            Err(Errno::ENODEV) => own(),
            // Nobody knows.
            Err(_) => self.index.map(Device::Own),
        }
    }

    /// Whether a pattern found it and it has gone since.
    pub(super) fn has_gone(&self) -> bool {
        self.origin == Origin::Found && !self.index.is_some_and(exists)
    }

    /// What the pin of this program is to be called. `taken` are the names that other interfaces have.
    pub(super) fn pin(
        &self,
        (direction, cookie): (Direction, u64),
        taken: &[String],
        links: &Links,
    ) -> String {
        if let Some((_, pin)) = self.pins.iter().find(|(there, _)| *there == direction) {
            return pin.clone();
        }
        let begin = format!("{}-{cookie}-", direction.label());
        // Two links at one device would have each packet handled twice.
        let before = self.index.and_then(|index| links.pin_at(&begin, index));
        if let Some(pin) = before.filter(|pin| !taken.contains(pin)) {
            return pin;
        }
        // Names on a BPF file system have no dots, names of interfaces no colons.
        let pin = format!("{begin}{}", self.name.replace('.', ":"));
        let is_taken = |index: &u32| taken.contains(&pin) || links.is_of_another(&pin, *index);
        match self.index.filter(is_taken) {
            // An interface that was renamed keeps its pin. No interface has a space in its name.
            Some(index) => format!("{pin} {index}"),
            None => pin,
        }
    }

    /// The names of its pins.
    pub(super) fn pins(&self) -> impl Iterator<Item = &String> {
        self.pins.iter().map(|(_, pin)| pin)
    }

    /// Sees to it that it has this program, which is pinned by this name if the kernel has links.
    pub(super) fn ensure(
        &mut self,
        (direction, program): &(Direction, Loaded),
        (hooks, pin): (Hooks, String),
        links: &mut Links,
    ) -> Result<InPlace> {
        let index = self.index.ok_or_else(|| anyhow!("it is not there"))?;
        let found = match hooks {
            Hooks::Links => {
                self.pinned(*direction, &pin);
                let (target, attach_type) = (Target::Interface(index), direction.tcx());
                links.ensure(&pin, program, &Place { target, id: index.into(), attach_type })
            }
            Hooks::Filters => {
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
    pub(super) fn note(&mut self, within: &Within, programs: usize) {
        if !self.attached && self.ready == programs {
            self.attached = true;
            tracing::info!("attached to {}{within}", self.name);
        }
    }

    pub(super) fn release(&mut self, direction: Direction, links: &mut Links) -> Result<()> {
        if direction == Direction::Ingress {
            // Nobody would hand over what is answered at XDP.
            self.door.shut(links)?;
        }
        if let Some(at) = self.pins.iter().position(|(there, _)| *there == direction) {
            links.release(&self.pins[at].1)?;
            self.pins.remove(at);
        }
        Ok(())
    }

    /// It has another name now. A filter's pin says where it is; that of a link may stay.
    pub(super) fn rename(&mut self, name: &str, hooks: Hooks, links: &mut Links) -> Result<()> {
        if hooks == Hooks::Filters {
            for direction in [Direction::Ingress, Direction::Egress] {
                self.release(direction, links)?;
            }
        }
        name.clone_into(&mut self.name);
        Ok(())
    }

    /// Detaches from the calling thread's namespace's interface of this index, which may have another name by now.
    pub(super) fn let_go(&mut self, hooks: Hooks, links: &mut Links) -> Result<()> {
        let all = if_nameindex().map_err(|error| anyhow!(error))?;
        let now = all.iter().find(|one| Some(one.index()) == self.index);
        for direction in [Direction::Ingress, Direction::Egress] {
            self.release(direction, links)?;
            if let (Hooks::Filters, Some(now)) = (hooks, now) {
                filters::Place::here(direction, &now.name().to_string_lossy())?.detach()?;
            }
        }
        Ok(())
    }
}

/// Whether there is an interface with this index, whatever its name. If nobody knows, it is still there.
pub(super) fn exists(index: u32) -> bool {
    if_nameindex().map_or(true, |all| all.iter().any(|one| one.index() == index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_gets_no_pin_that_another_one_kept() {
        let directory = tempfile::tempdir().unwrap();
        let links = Links::new(directory.path()).unwrap();
        let mut first = Interface::found("eth0", 5);
        let pin = first.pin((Direction::Ingress, 7), &[], &links);
        assert_eq!(pin, "ingress-7-eth0");
        first.pinned(Direction::Ingress, &pin);
        first.name = "eth1".into();
        assert_eq!(first.pin((Direction::Ingress, 7), &[], &links), pin);
        let taken: Vec<_> = first.pins().cloned().collect();
        let second = Interface::found("eth0", 6);
        assert_eq!(second.pin((Direction::Ingress, 7), &taken, &links), "ingress-7-eth0 6");
        assert_eq!(second.pin((Direction::Egress, 7), &taken, &links), "egress-7-eth0");
        let tagged = Interface::found("eth0.5", 7);
        assert_eq!(tagged.pin((Direction::Egress, 7), &taken, &links), "egress-7-eth0:5");
    }
}
