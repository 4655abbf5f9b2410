//! The programs on the interfaces of one namespace: attaches them, keeps them attached, detaches them.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use super::interface::{Hooks, Interface, Origin, Within};
use super::looked::{Found, Gone, Looked};
use crate::bpf::direction::Direction;
use crate::bpf::links::Links;
use crate::bpf::programs::Loaded;
use crate::bpf::strays;
use crate::config::{Names, Netns};
use crate::desired::targets::Target;
use crate::host::links;
use crate::host::served::Entrance;

/// What belongs to one network namespace.
pub(super) struct OfNamespace {
    pub(super) entrance: Entrance,
    /// In the order in which to attach them.
    pub(super) programs: Vec<(Direction, Loaded)>,
    pub(super) interfaces: Vec<Interface>,
    /// What may be there, beside the interfaces that must be.
    pub(super) sought: Vec<Names>,
    pub(super) hooks: Hooks,
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
            match self.interfaces.iter_mut().find(|one| one.name == *name) {
                Some(there) if there.origin == Origin::Named => continue,
                Some(there) => there.origin = Origin::Named,
                None => self.interfaces.push(Interface::named(name)),
            }
            self.looked_at = None;
        }
        if !self.sought.iter().eq(target.sought.iter().copied()) {
            self.sought = target.sought.iter().map(|names| (*names).clone()).collect();
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
        let entrance = self.entrance.clone();
        match entrance.run(|| Ok(self.ensure_here(pin_path, links))) {
            Ok(found) => found,
            // The namespace is left at the next look.
            Err(_) if self.requires_nothing() && !entrance.is_there() => Vec::new(),
            Err(error) => vec![(entrance.netns().to_string(), Err(error))],
        }
    }

    /// Whether nothing of it must be there.
    fn requires_nothing(&self) -> bool {
        self.interfaces.iter().all(|one| one.origin == Origin::Found)
    }

    /// The calling thread is in the namespace.
    fn ensure_here(&mut self, pin_path: &Path, links: &mut Links) -> Vec<Found> {
        let mut found = Vec::new();
        if let Err(error) = self.follow_patterns(pin_path, links, &mut found) {
            found.push((self.netns().to_string(), Err(error)));
        }
        let Self { entrance, programs, interfaces, hooks, .. } = self;
        let (cookie, netns) = (entrance.cookie(), entrance.netns());
        let within = Within(netns);
        for interface in interfaces.iter_mut() {
            interface.ready = 0;
            if let Err(error) = interface.find(netns) {
                let what = format!("interface {}{within}", interface.name);
                // A device that has moved to another namespace would take the programs along.
                if let Err(error) = interface.let_go(*hooks, links) {
                    found.push((what.clone(), Err(error.context("it is still attached to"))));
                }
                let error = error.context(Gone(what.clone()));
                found.push((what, Err(error)));
            }
        }
        // Egress first, for all interfaces.
        for program in &*programs {
            for at in 0..interfaces.len() {
                if interfaces[at].index.is_none() {
                    continue;
                }
                let others = interfaces.iter().enumerate().filter(|(other, _)| *other != at);
                let taken: Vec<_> = others.flat_map(|(_, one)| one.pins().cloned()).collect();
                let interface = &mut interfaces[at];
                let what = format!(
                    "the {} program of interface {}{within}",
                    program.0.label(),
                    interface.name
                );
                let pin = interface.pin((program.0, cookie), &taken);
                let in_place = interface.ensure(program, (*hooks, pin), links);
                if in_place.is_err() && interface.has_gone() {
                    continue;
                }
                let in_place = in_place.with_context(|| format!("{what} is not attached"));
                found.push((what, in_place));
            }
        }
        for interface in interfaces.iter_mut() {
            interface.note(&within, programs.len());
        }
        found
    }

    /// Takes what patterns find, and leaves what they do not find any more.
    fn follow_patterns(
        &mut self,
        pin_path: &Path,
        links: &mut Links,
        found: &mut Vec<Found>,
    ) -> Result<()> {
        if self.sought.is_empty() && self.interfaces.iter().all(|one| one.origin == Origin::Named) {
            return Ok(());
        }
        let there: Vec<_> =
            links::all()?.into_iter().filter(|link| link.is_found_by(&self.sought)).collect();
        for one in self.interfaces.iter_mut().filter(|one| one.origin == Origin::Found) {
            match there.iter().find(|link| Some(link.index) == one.index) {
                Some(link) if link.name == one.name => {}
                Some(link) => one.rename(&link.name, self.hooks, links)?,
                None => {
                    one.let_go(self.hooks, links)?;
                    one.index = None;
                    tracing::info!("left {}{}", one.name, Within(self.entrance.netns()));
                }
            }
        }
        self.interfaces.retain(|one| one.origin == Origin::Named || one.index.is_some());
        for link in &there {
            let has = |one: &Interface| one.index == Some(link.index) || one.name == link.name;
            if self.interfaces.iter().any(has) {
                continue;
            }
            match strays::check_now(pin_path, &[&link.name]) {
                Ok(()) => self.interfaces.push(Interface::found(&link.name, link.index)),
                Err(error) => {
                    let what = format!("interface {}{}", link.name, Within(self.entrance.netns()));
                    let error = error.context(format!("{what} is not attached to"));
                    found.push((what, Err(error)));
                }
            }
        }
        Ok(())
    }

    /// Detaches from the interfaces that are not among `named`, and that no pattern wants. Connections must not be
    /// handed over without the way back being translated.
    ///
    /// # Errors
    /// If a program stays attached. Its interface is not forgotten then.
    pub(super) fn release_all_but(
        &mut self,
        target: Option<&Target>,
        links: &mut Links,
    ) -> Result<()> {
        let leaves = |one: &Interface| target.is_none_or(|target| !keeps(target, one));
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
        for one in &mut self.interfaces {
            let is_named = target.is_some_and(|target| target.named.contains(&&*one.name));
            one.origin = if is_named { Origin::Named } else { Origin::Found };
        }
        Ok(())
    }
}

/// Whether the target still wants an interface.
pub(super) fn keeps(target: &Target, interface: &Interface) -> bool {
    target.wants(&interface.name)
}
