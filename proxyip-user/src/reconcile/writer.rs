//! What is guarded: ports, listeners and their lists of networks, written to the kernel's maps.
//!
//! A change is prepared where no program looks. Then one step for each listener puts it in force. So every connection
//! is judged by the old settings or by the new ones, and never by a mixture.

use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;
use ipnet::IpNet;
use proxyip_api::acl::Verdict;

use super::listeners::{Listeners, Lists};
use super::scopes::Scopes;
use super::set_members::{Members, SetMembers};
use crate::config::{Config, Listener};
use crate::desired::networks::Commands;
use crate::tables::drained::{Change, DrainedPorts};
use crate::tables::ports::{Ports, Wanted};

/// Only this writes listeners, policies, lists, sets and their names, and says which ports are guarded.
/// [`Control`](super::control::Control) holds it behind a lock, so changes go through there.
pub(crate) struct Writer {
    scopes: Scopes,
    listeners: Listeners,
    sets: SetMembers,
    ports: Ports,
}

/// All that a configuration has in the tries.
#[derive(Default)]
struct Prepared {
    listeners: Vec<Lists>,
    sets: Vec<Members>,
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
        Ok(Self { scopes, listeners, sets, ports })
    }

    /// The places of a configuration's sets, in their order.
    pub(crate) fn set_places(&self, config: &Config) -> Result<Vec<u16>> {
        self.sets.find(config)
    }

    /// Puts a configuration in force; returns the places of its listeners, in their order.
    ///
    /// # Errors
    /// If the maps do not take it; then what was in force is.
    pub(crate) fn apply(&mut self, config: &Config) -> Result<Vec<u16>> {
        let places = self.listeners.find(config)?;
        let set_places = self.sets.find(config)?;
        let prepared = self.prepare(config, &places, &set_places)?;
        let listeners = places.iter().copied().zip(&config.listeners);
        for (listener, lists) in listeners.zip(prepared.listeners) {
            self.listeners.put_in_force(&mut self.scopes, listener, lists)?;
        }
        let sets = set_places.iter().copied().zip(&config.sets);
        for (set, members) in sets.zip(prepared.sets) {
            self.sets.put_in_force(&mut self.scopes, set, members)?;
        }
        let ports = config.listeners.iter().map(|listener| listener.ports.iter().copied());
        self.ports.write(&Wanted::new(places.iter().copied().zip(ports)))?;
        self.listeners.leave(&mut self.scopes, &places)?;
        self.sets.leave(&mut self.scopes, &set_places)?;
        Ok(places)
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
            // The new lists will not be used, so their scopes are given back.
            let in_force = &self.listeners.scopes() | &self.sets.scopes();
            for scope in prepared.scopes().filter(|scope| !in_force.contains(scope)) {
                self.scopes.replaced(scope);
            }
        }
        result.map(|()| prepared)
    }

    /// What is drained, now and later.
    pub(crate) fn drained(&self) -> DrainedPorts {
        self.listeners.drained()
    }

    /// Drains or resumes a port of the listener at this place, or all.
    pub(crate) fn drain(&mut self, place: u16, port: u16, change: Change) -> Result<()> {
        self.listeners.drain(place, port, change)
    }

    /// Has the new connections of the listener at this place translated.
    pub(crate) fn set_stack_refuses(&mut self, place: u16) -> Result<()> {
        self.listeners.set_stack_refuses(place)
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
