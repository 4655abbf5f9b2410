//! What is guarded: ports, listeners and their lists of networks, written to the kernel's maps.
//!
//! A change is prepared where no program looks. Then one step for each listener puts it in force. So every connection
//! is judged by the old settings or by the new ones, and never by a mixture.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use ipnet::IpNet;
use proxyip_api::acl::Verdict;
use proxyip_common::settings::{Fallback, PlacedPort};

use super::fallbacks::FallbackTable;
use super::listeners::{Listeners, Lists};
use super::scopes::Scopes;
use super::set_members::{Members, SetMembers};
use super::undo::Done;
use crate::config::{Config, Listener};
use crate::desired::networks::{Commands, verdict_of};
use crate::tables::drained::{Change, DrainedPorts};
use crate::tables::fill::Level;
use crate::tables::ports::{Ports, Wanted};

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
}

/// All that a configuration has in the tries.
#[derive(Default)]
struct Prepared {
    listeners: Vec<Arc<Lists>>,
    sets: Vec<Arc<Members>>,
}

/// A configuration that is to be in force.
struct Plan<'a> {
    config: &'a Config,
    /// Of its listeners, in their order.
    places: &'a [u16],
    /// Of its sets, in their order.
    set_places: &'a [u16],
    prepared: Prepared,
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
        Ok(Self { scopes, listeners, sets, ports, mixed: None, fallbacks })
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
        let places = self.listeners.find(config)?;
        let set_places = self.sets.find(config)?;
        let prepared = self.prepare(config, &places, &set_places)?;
        let new: Vec<_> = prepared.scopes().collect();
        let plan = Plan { config, places: &places, set_places: &set_places, prepared };
        let mut done = Done::nothing();
        if let Err(error) = self.put_in_force(plan, &mut done) {
            let undone = done.undo(self);
            self.give_back(new);
            self.mixed = undone.err();
            return Err(error);
        }
        self.mixed = None;
        if let Err(error) = self.leave(&places, &set_places) {
            // No port leads there, so that no connection is judged by it.
            tracing::error!(
                "what has left the configuration stays in the maps until the next reload: {error:#}"
            );
        }
        Ok(places)
    }

    /// Why the last change could be neither made nor undone: the maps have parts of two configurations.
    pub(crate) const fn mixed(&self) -> Option<&anyhow::Error> {
        self.mixed.as_ref()
    }

    fn put_in_force(&mut self, plan: Plan, done: &mut Done<Self>) -> Result<()> {
        let Plan { config, places, set_places, prepared } = plan;
        let listeners = places.iter().copied().zip(&config.listeners);
        for (listener, lists) in listeners.zip(prepared.listeners) {
            let before = self.listeners.at(listener.0)?;
            done.begin(move |one: &mut Self| one.listeners.put_back(&mut one.scopes, before));
            self.listeners.put_in_force(&mut self.scopes, listener, lists)?;
        }
        self.take_fallbacks_along(places, config)?;
        let sets = set_places.iter().copied().zip(&config.sets);
        for (set, members) in sets.zip(prepared.sets) {
            let before = self.sets.at(set.0);
            done.begin(move |one: &mut Self| one.sets.put_back(&mut one.scopes, before));
            self.sets.put_in_force(&mut self.scopes, set, members)?;
        }
        let ports = config.listeners.iter().map(|listener| listener.ports.iter().copied());
        let before = self.ports.wanted();
        done.begin(move |one: &mut Self| one.ports.write(&before));
        self.ports.write(&Wanted::new(places.iter().copied().zip(ports)))
    }

    /// Has the kernel programs look for the fallbacks of ports that have a listener now which never fell back.
    fn take_fallbacks_along(&mut self, places: &[u16], config: &Config) -> Result<()> {
        let fallen = self.fallbacks.ports()?;
        for (place, listener) in places.iter().zip(&config.listeners) {
            if listener.ports.iter().any(|port| fallen.contains(port)) {
                self.listeners.set_falls_back(*place)?;
            }
        }
        Ok(())
    }

    fn leave(&mut self, places: &[u16], set_places: &[u16]) -> Result<()> {
        self.listeners.leave(&mut self.scopes, places)?;
        self.sets.leave(&mut self.scopes, set_places)
    }

    /// Writes all lists that are new where nobody looks.
    fn prepare(&mut self, config: &Config, places: &[u16], set_places: &[u16]) -> Result<Prepared> {
        let mut prepared = Prepared::default();
        let (scopes, listeners, sets) = (&mut self.scopes, &self.listeners, &self.sets);
        let mut prepare = || {
            for (place, listener) in places.iter().zip(&config.listeners) {
                prepared.listeners.push(listeners.prepare(scopes, *place, listener)?);
            }
            for (place, set) in set_places.iter().zip(&config.sets) {
                prepared.sets.push(sets.prepare(scopes, *place, set)?);
            }
            Ok(())
        };
        let result = prepare();
        if result.is_err() {
            let unread = self.not_in_force(prepared.scopes());
            self.scopes.discard(&unread);
        }
        result.map(|()| prepared)
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
    pub(crate) fn drain(&mut self, place: u16, port: u16, change: Change) -> Result<()> {
        self.listeners.drain(place, port, change)
    }

    /// Gives those of the scopes back that are not in force.
    fn give_back(&mut self, scopes: Vec<u32>) {
        for scope in self.not_in_force(scopes) {
            self.scopes.replaced(scope);
        }
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

impl Prepared {
    fn scopes(&self) -> impl Iterator<Item = u32> {
        let of_listeners = self.listeners.iter().map(|lists| lists.policy.scope);
        of_listeners.chain(self.sets.iter().map(|members| members.scope))
    }
}
