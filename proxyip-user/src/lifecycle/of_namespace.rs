//! The programs on the interfaces of one namespace: attaches them, keeps them attached, detaches them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Error, Result, anyhow};

use super::interface::{Hooks, Interface, Within, exists};
use super::looked::{Found, Looked};
use crate::bpf::direction::Direction;
use crate::bpf::links::Links;
use crate::bpf::programs::Loaded;
use crate::config::{Names, Netns, Xdp};
use crate::desired::plan::interfaces::{self as plan, Candidate, Id, Origin, There};
use crate::desired::targets::Target;
use crate::host::entrance::{Entrance, Replaced};
use crate::host::links::{self, Kind, Link};
use crate::host::namespace::{Living, Namespace};
use crate::host::netlink::Dump;

/// What the file of a namespace says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is there.
    Visible,
    /// Nothing, and it lives on: a mount may be missing.
    Hidden,
    /// It is to end, or another one has its name.
    Gone,
}

/// What belongs to one network namespace.
pub(super) struct OfNamespace {
    pub(super) entrance: Entrance,
    /// The agent's own.
    pub(super) home: Arc<Namespace>,
    /// In the order in which to attach them.
    pub(super) programs: Vec<(Direction, Loaded)>,
    pub(super) interfaces: BTreeMap<Id, Interface>,
    /// What may be there, beside the interfaces that must be.
    pub(super) sought: Vec<Names>,
    /// What entries say of XDP.
    pub(super) xdp: Vec<(Names, Xdp)>,
    /// Its entry of `NAMESPACES`.
    pub(super) place: u32,
    pub(super) hooks: Hooks,
    /// A look has found another namespace in its place.
    pub(super) is_replaced: bool,
    /// What its file said of it at the last list.
    pub(super) presence: Presence,
    /// The last look could see all of its interfaces, and each had its programs.
    pub(super) is_known: bool,
    /// What the last look found, and when it was.
    pub(super) looked: Looked,
    pub(super) looked_at: Option<Instant>,
}

impl OfNamespace {
    pub(super) const fn netns(&self) -> &Netns {
        self.entrance.netns()
    }

    /// Wants what the target has too, if it does not yet.
    pub(super) fn add(&mut self, target: &Target) {
        for name in &target.named {
            match self.interfaces.values_mut().find(|one| one.name == *name) {
                Some(there) if there.origin == Origin::Named => continue,
                Some(there) => there.origin = Origin::Named,
                None => drop(self.interfaces.insert(self.next_id(), Interface::named(name))),
            }
            self.looked_at = None;
        }
        if !self.sought.iter().eq(target.sought.iter().copied()) {
            self.sought = target.sought.iter().map(|names| (*names).clone()).collect();
            self.looked_at = None;
        }
        if !self.xdp.iter().map(|(names, xdp)| (names, *xdp)).eq(target.xdp.iter().copied()) {
            self.xdp = target.xdp.iter().map(|(names, xdp)| ((*names).clone(), *xdp)).collect();
            self.looked_at = None;
        }
    }

    /// Sees to it that every interface has its programs.
    pub(super) fn look(&mut self, pin_path: &Path, links: &mut Links) {
        self.looked = self.ensure(pin_path, links).into_iter().collect();
        self.looked_at = Some(Instant::now());
    }

    /// The same; returns what is found at each place.
    pub(super) fn ensure(&mut self, pin_path: &Path, links: &mut Links) -> Vec<Found> {
        self.is_known = false;
        let entrance = self.entrance.clone();
        let home = Arc::clone(&self.home);
        match entrance.visit(&home, || Ok(self.ensure_here(pin_path, links))) {
            Ok(found) => found,
            Err(error) if error.is::<Replaced>() => {
                self.is_replaced = true;
                Vec::new()
            }
            // The namespace is left at the next look, or it is said that it is hidden.
            Err(_) if !entrance.is_there() && (self.is_hidden() || self.requires_nothing()) => {
                Vec::new()
            }
            Err(error) => vec![(entrance.netns().to_string(), Err(error))],
        }
    }

    /// Whether its file is gone, or stands for another namespace. The kernel gives a number to one namespace after another.
    pub(super) fn has_vanished(&self) -> bool {
        self.is_replaced || !self.entrance.is_there()
    }

    /// It lives on, though its file said nothing of it at the last list.
    pub(super) fn is_hidden(&self) -> bool {
        self.presence == Presence::Hidden
    }

    /// Finds out what its file says of it.
    pub(super) fn find_out(&mut self, links: &Links, living: &Living) {
        self.presence = if !self.has_vanished() {
            self.entrance.note_directory();
            Presence::Visible
        } else if !self.is_replaced && self.entrance.is_hidden() && self.lives(links, living) {
            Presence::Hidden
        } else {
            Presence::Gone
        };
    }

    fn lives(&self, links: &Links, living: &Living) -> bool {
        let mut pins = self.interfaces.values().flat_map(Interface::pins);
        match self.hooks {
            Hooks::Links => pins.any(|pin| links.is_attached(pin)),
            Hooks::Filters => living.has(self.entrance.inode()),
        }
    }

    /// Whether nothing of it must be there.
    fn requires_nothing(&self) -> bool {
        self.interfaces.values().all(|one| one.origin == Origin::Found)
    }

    /// The calling thread is in the namespace.
    fn ensure_here(&mut self, pin_path: &Path, links: &mut Links) -> Vec<Found> {
        let mut found = Vec::new();
        let sought = self.sought();
        self.is_known = sought.as_ref().is_ok_and(|sought| sought.unread == 0);
        let (sought, wrong) = self.kept(sought);
        found.extend(wrong.map(|error| (self.netns().to_string(), Err(error))));
        let there: Vec<_> = self.interfaces.iter().map(|(id, one)| there(*id, one)).collect();
        let devices = sought.iter().map(|link| Candidate { index: link.index, name: &link.name });
        let steps = plan::look(&there, &devices.collect::<Vec<_>>(), self.next_id());
        self.interfaces.values_mut().for_each(|one| one.ready = 0);
        found.extend(self.take_all(steps, (pin_path, links)));
        // What was to be done and failed may leave a program that somebody else attached as the only one.
        self.is_known &= found.iter().all(|(_, result)| result.is_ok());
        let within = Within(self.entrance.netns());
        for one in self.interfaces.values_mut() {
            one.note(&within, self.programs.len());
        }
        found
    }

    /// What patterns find.
    fn sought(&self) -> Result<Dump<Link>> {
        if self.sought.is_empty() {
            return Ok(Dump { found: Vec::new(), unread: 0 });
        }
        let Dump { mut found, unread } = links::all()?;
        found.retain(|link| link.is_found_by(&self.sought));
        Ok(Dump { found, unread })
    }

    /// The same, and what they found before, should nobody know now whether they still do. Returns what was wrong, too.
    fn kept(&self, sought: Result<Dump<Link>>) -> (Vec<Link>, Option<Error>) {
        match sought {
            Ok(Dump { found, unread: 0 }) => (found, None),
            Ok(Dump { mut found, unread }) => {
                let mut before = self.as_before();
                before.retain(|one| {
                    exists(one.index) && found.iter().all(|link| link.index != one.index)
                });
                found.append(&mut before);
                let said = anyhow!(
                    "interfaces that cannot be read, and are served only if they were before: {unread}"
                );
                (found, Some(said))
            }
            Err(error) => (self.as_before(), Some(error)),
        }
    }

    /// What they have found, should nobody know what they find now.
    fn as_before(&self) -> Vec<Link> {
        let before = self.interfaces.values().filter(|one| one.origin == Origin::Found);
        let link = |one: &Interface| {
            Some(Link { index: one.index?, name: one.name.clone(), kind: Kind::Ethernet })
        };
        before.filter_map(link).collect()
    }

    /// An identity that no interface has.
    fn next_id(&self) -> Id {
        let last = self.interfaces.last_key_value();
        Id(last.map_or(0, |(Id(last), _)| last + 1))
    }

    /// Detaches from the interfaces that the target does not want, or from all. Returns what goes wrong: an interface is not
    /// forgotten if a program stays attached.
    pub(super) fn release_all_but(
        &mut self,
        target: Option<&Target>,
        (pin_path, links): (&Path, &mut Links),
    ) -> Vec<Error> {
        let leaves = |one: &Interface| target.is_none_or(|target| !keeps(target, one));
        let leaving = self.interfaces.iter().filter(|(_, one)| leaves(one));
        let steps = plan::release(&leaving.map(|(id, _)| *id).collect::<Vec<_>>());
        let found = self.take_all(steps, (pin_path, links));
        for one in self.interfaces.values_mut() {
            let is_named = target.is_some_and(|target| target.named.contains(&&*one.name));
            one.origin = if is_named { Origin::Named } else { Origin::Found };
        }
        found.into_iter().filter_map(|(_, released)| released.err()).collect()
    }
}

fn there(id: Id, one: &Interface) -> There<'_> {
    let device = match one.origin {
        Origin::Named => one.device(),
        Origin::Found => None,
    };
    There { id, name: &one.name, origin: one.origin, index: one.index, device }
}

/// Whether the target still wants an interface.
pub(super) fn keeps(target: &Target, interface: &Interface) -> bool {
    target.wants(&interface.name)
}
