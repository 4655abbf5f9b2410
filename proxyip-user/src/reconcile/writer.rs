//! What is guarded: ports, listeners and their lists of networks, written to the kernel's maps.
//!
//! [`plan`] says what to write and in which order: a change is prepared where no program looks, and then put in force. So
//! every connection is judged by the old settings or by the new ones, and never by a mixture.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;
use ipnet::IpNet;
use proxyip_api::acl::Verdict;
use proxyip_common::settings::{Fallback, PlacedPort};

use super::fallbacks::FallbackTable;
use super::listeners::Listeners;
use super::scopes::Scopes;
use super::set_members::SetMembers;
use crate::bpf::set_programs::Watched;
use crate::config::{Config, Listener};
use crate::desired::networks::{Commands, verdict_of};
use crate::desired::plan::policy::{Change, InForce, Plan, Step, Wanted, plan, scopes};
use crate::steps::step;
use crate::tables::drained::{self, DrainedPorts};
use crate::tables::fill::Level;
use crate::tables::ports::Ports;

/// Only this writes listeners, policies, lists, sets and their names, and says which ports are guarded.
/// [`Control`](super::control::Control) holds it behind a lock, so changes go through there.
pub(crate) struct Writer {
    scopes: Scopes,
    listeners: Listeners,
    sets: SetMembers,
    ports: Ports,
    /// Why the last change could not be undone.
    mixed: Option<anyhow::Error>,
    fallbacks: FallbackTable,
    /// A configuration of this agent's is in force.
    is_started: bool,
}

impl Writer {
    /// Opens the maps. The configuration of an agent before this one stays in force until another is. The changes of
    /// commands stay.
    pub(crate) fn open(pin_path: &Path, ports: Ports) -> Result<Self> {
        let (mut listeners, mut sets) = (Listeners::open(pin_path)?, SetMembers::open(pin_path)?);
        let in_force = &listeners.scopes() | &sets.scopes();
        let scopes = Scopes::open(pin_path, &in_force)?;
        let mut clients = scopes.clients.entries(&in_force);
        listeners.adopt(&mut scopes.trusted.entries(&in_force), &mut clients);
        sets.adopt(&mut clients);
        let fallbacks = FallbackTable::open_empty(pin_path)?;
        Ok(Self { scopes, listeners, sets, ports, mixed: None, fallbacks, is_started: false })
    }

    /// Frees places of sets that are neither in force nor in this configuration. `watched` says where rules of iptables look.
    pub(crate) fn free_sets(
        &mut self,
        config: &Config,
        watched: impl FnOnce() -> Result<Watched>,
    ) -> Result<()> {
        self.sets.free(config, watched)
    }

    /// The places of a configuration's sets, in their order.
    pub(crate) fn set_places(&self, config: &Config) -> Result<Vec<u16>> {
        self.sets.find(config)
    }

    /// Puts a configuration in force; returns the places of its listeners, in their order.
    ///
    /// # Errors
    /// If the maps do not take it. Then what was in force is, or the maps are mixed: [`Writer::mixed`] says which.
    pub(crate) fn apply(&mut self, config: &Config) -> Result<Vec<u16>> {
        let (places, set_places) = (self.listeners.find(config)?, self.sets.find(config)?);
        let wanted = Wanted {
            listeners: places.iter().copied().zip(&config.listeners).collect(),
            sets: set_places.into_iter().zip(&config.sets).collect(),
        };
        let Plan { prepare, change, leave } = plan(&self.in_force(&wanted)?, &wanted);
        let new: Vec<_> = scopes(&prepare).collect();
        if let Err(error) = self.take_all(prepare) {
            // No program has read them, and another list may need their room.
            self.scopes.discard(&new.into_iter().collect());
            return Err(error);
        }
        if let Err((error, undo)) = self.change(change) {
            let undone = self.undo(undo);
            for scope in self.not_in_force(new) {
                self.scopes.replaced(scope);
            }
            self.mixed = undone.err();
            return Err(error);
        }
        (self.mixed, self.is_started) = (None, true);
        self.leave(leave);
        Ok(places)
    }

    /// Takes the steps that leave what the configuration does not have any more. No port leads there, so that no connection is
    /// judged by it.
    fn leave(&mut self, steps: Vec<Step>) {
        let new: Vec<_> = scopes(&steps).collect();
        let mut unwritten = BTreeSet::new();
        for one in steps {
            // A policy must not name a list that is not there.
            let is_needed = match &one {
                Step::Enforce { lists, .. } => !unwritten.contains(&lists.policy.scope),
                _ => true,
            };
            let written = match &one {
                Step::WriteLists { scope, .. } => Some(*scope),
                _ => None,
            };
            if is_needed && let Err(error) = self.take(one) {
                unwritten.extend(written);
                tracing::error!(
                    "what has left the configuration stays in the maps until the next reload: {error:#}"
                );
            }
        }
        for scope in self.not_in_force(new) {
            self.scopes.replaced(scope);
        }
    }

    /// What the maps say of what the configuration wants, and of what is to leave.
    fn in_force(&self, wanted: &Wanted) -> Result<InForce<'_>> {
        let listeners = wanted.listeners.iter().map(|(place, _)| *place);
        let listeners = listeners.chain(self.listeners.places());
        let listeners = listeners.map(|place| Ok((place, self.listeners.there(place)?)));
        let sets = wanted.sets.iter().map(|(place, _)| *place).chain(self.sets.places());
        Ok(InForce {
            listeners: listeners.collect::<Result<_>>()?,
            sets: sets.map(|place| (place, self.sets.there(place))).collect(),
            ports: self.ports.guarded(),
            fallen: self.fallbacks.ports()?,
            next_scope: self.scopes.next(),
            is_started: self.is_started,
        })
    }

    fn take_all(&mut self, steps: Vec<Step>) -> Result<()> {
        steps.into_iter().try_for_each(|one| self.take(one))
    }

    /// Takes steps; if one fails, returns what undoes it and those before it, which are in their order.
    fn change(&mut self, changes: Vec<Change>) -> Result<(), (anyhow::Error, Vec<Step>)> {
        let mut undo = Vec::new();
        for one in changes {
            // Noted first: a step may fail half way.
            undo.push(one.undo);
            if let Err(error) = self.take(one.step) {
                return Err((error, undo));
            }
        }
        Ok(())
    }

    /// Undoes steps, and goes on after one that cannot be undone.
    ///
    /// # Errors
    /// The first error: then some steps are still done.
    fn undo(&mut self, steps: Vec<Step>) -> Result<()> {
        let undone: Vec<_> = steps.into_iter().rev().map(|one| self.take(one)).collect();
        undone.into_iter().collect()
    }

    fn take(&mut self, one: Step) -> Result<()> {
        step();
        let Self { scopes, listeners, sets, ports, .. } = self;
        match one {
            Step::WriteLists { scope, sources, clients } => scopes.write(scope, &sources, &clients),
            Step::SetSettings { place, settings } => listeners.set_settings(place, settings),
            Step::Enforce { place, lists } => listeners.enforce(scopes, place, lists),
            Step::ForgetCommands { place } => listeners.forget_commanded(place),
            Step::RestoreCommands { place, commands, drained } => {
                listeners.restore_commanded(place, commands, &drained)
            }
            Step::TakePlace { place, name } => listeners.take_place(place, &name),
            Step::TakeSetPlace { place, name } => sets.take_place(place, &name),
            Step::EnforceSet { place, members } => sets.enforce(scopes, place, members),
            Step::GuardPorts(guarded) => ports.write(&guarded),
            Step::Forget { place } => listeners.forget(scopes, place),
            Step::ForgetSet { place } => sets.forget(scopes, place),
        }
    }

    /// Why the last change could be neither made nor undone: the maps have parts of two configurations.
    pub(crate) const fn mixed(&self) -> Option<&anyhow::Error> {
        self.mixed.as_ref()
    }

    /// How full the tries and the places of sets are, now and later.
    pub(crate) fn fill_levels(&self) -> Vec<Level> {
        let Scopes { trusted, clients, .. } = &self.scopes;
        vec![trusted.fill_level(), clients.fill_level(), self.sets.fill_level()]
    }

    /// What is drained, now and later.
    pub(crate) fn drained(&self) -> DrainedPorts {
        self.listeners.drained()
    }

    /// Drains or resumes a port of the listener at this place, or all.
    pub(crate) fn drain(&mut self, place: u16, port: u16, change: drained::Change) -> Result<()> {
        self.listeners.drain(place, port, change)
    }

    fn not_in_force(&self, scopes: impl IntoIterator<Item = u32>) -> BTreeSet<u32> {
        let in_force = &self.listeners.scopes() | &self.sets.scopes();
        scopes.into_iter().filter(|scope| !in_force.contains(scope)).collect()
    }

    /// Has connections to a port of the listener at this place translated for a while.
    pub(crate) fn begin_fallback(
        &mut self,
        place: u16,
        at: PlacedPort,
        fallback: Fallback,
    ) -> Result<()> {
        // In this order: the kernel programs look for the port when the listener says so.
        self.fallbacks.begin(at, fallback)?;
        self.listeners.set_falls_back(place)
    }

    /// Forgets a fallback that is over. The kernel programs have seen by themselves that it is.
    pub(crate) fn end_fallback(&mut self, at: PlacedPort) -> Result<()> {
        self.fallbacks.end(at)
    }

    /// Whether a named set has the client.
    pub(crate) fn is_in_a_set(&self, client: IpAddr) -> Result<bool> {
        for scope in self.sets.scopes() {
            if self.scopes.clients.get(scope, client)?.map(verdict_of) == Some(Verdict::Allow) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes, changes or, with `None`, removes a rule of a command.
    pub(crate) fn command(
        &mut self,
        listener: (u16, &Listener),
        rule: (IpNet, Option<Verdict>),
    ) -> Result<()> {
        self.listeners.command(&mut self.scopes, listener, rule)
    }

    /// What commands say of a listener's clients.
    pub(crate) fn commands(&self, place: u16) -> Commands {
        self.listeners.commands(place)
    }

    /// The listeners that have rules of commands and are at none of these places, by name, with how many.
    pub(crate) fn orphans(&self, places: &[u16]) -> Vec<(String, usize)> {
        self.listeners.orphans(places)
    }

    /// The rules of commands for a listener that the configuration does not have; `None` if there are none.
    pub(crate) fn orphaned(&self, name: &str) -> Option<(u16, Commands)> {
        let place = self.listeners.place_of(name)?;
        let commands = self.listeners.commands(place);
        (!commands.is_empty()).then_some((place, commands))
    }

    /// Removes one of them.
    pub(crate) fn remove_orphan(&mut self, place: u16, network: IpNet) -> Result<()> {
        self.listeners.remove_orphan(&mut self.scopes, place, network)
    }

    /// The verdict of the kernel's maps on a client.
    pub(crate) fn judge(&self, place: u16, client: IpAddr) -> Result<Verdict> {
        self.listeners.judge(&self.scopes, place, client)
    }

    /// Removes lists that were replaced.
    pub(crate) fn sweep(&mut self) -> Result<()> {
        self.scopes.sweep()
    }
}
