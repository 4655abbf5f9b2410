//! What is guarded: ports, listeners and their lists of networks, written to the kernel's maps.
//!
//! A change is prepared where no program looks. Then one step for each listener puts it in force. So every connection
//! is judged by the old settings or by the new ones, and never by a mixture.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, MapData, MapError};
use ipnet::IpNet;
use proxyip_api::acl::Verdict;
use proxyip_common::settings::{Denied, ListenerSettings, Policy, access};

use super::places::Places;
use super::scopes::Scopes;
use crate::bpf::pod::Raw;
use crate::config::{Config, Listener, Set};
use crate::desired::networks::{
    Commands, Entries, clients, covers_ipv4, members, otherwise, sources, value, value_of,
    verdict_of,
};
use crate::desired::settings::settings_of;
use crate::tables::maps::{open, remove};
use crate::tables::ports::{self, Ports, Retired, Wanted};

/// Only this writes listeners, policies, lists, sets and their names. [`Control`](super::control::Control) holds it
/// behind a lock, so changes go through there.
pub(crate) struct Writer {
    settings: Array<MapData, Raw<ListenerSettings>>,
    policies: HashMap<MapData, u32, Raw<Policy>>,
    sets: HashMap<MapData, u32, u32>,
    ports: Ports,
    scopes: Scopes,
    listener_places: Places,
    set_places: Places,
    retired: Retired,
    /// The lists of each listener in force, by place.
    in_force: BTreeMap<u16, Lists>,
    /// The members of each set in force, by place.
    sets_in_force: BTreeMap<u16, Members>,
    /// What commands have changed, by place.
    commands: BTreeMap<u16, Commands>,
    /// A configuration of this agent's is in force.
    started: bool,
}

/// The lists of a listener, and the policy that names them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lists {
    policy: Policy,
    sources: Entries,
    clients: Entries,
}

/// The members of a set, and their scope.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Members {
    scope: u32,
    entries: Entries,
}

impl Writer {
    /// Opens the maps. The configuration of an agent before this one stays in force until another is. The changes of
    /// commands stay.
    pub(crate) fn open(pin_path: &Path, retired: Retired) -> Result<Self> {
        let policies: HashMap<MapData, u32, Raw<Policy>> = open(pin_path, "POLICIES")?;
        let sets: HashMap<MapData, u32, u32> = open(pin_path, "SETS")?;
        let there: Vec<(u16, Raw<Policy>)> = by_place(policies.iter())?;
        let there: Vec<_> = there.into_iter().map(|(place, Raw(policy))| (place, policy)).collect();
        let of_sets: Vec<(u16, u32)> = by_place(sets.iter())?;
        let scopes = there.iter().map(|(_, policy)| policy.scope);
        let scopes = scopes.chain(of_sets.iter().map(|(_, scope)| *scope)).collect();
        let mut writer = Self {
            settings: open(pin_path, "LISTENERS")?,
            policies,
            sets,
            ports: open(pin_path, "PORTS")?,
            scopes: Scopes::open(pin_path, &scopes)?,
            listener_places: Places::open(pin_path, "LISTENER_NAMES")?,
            set_places: Places::open(pin_path, "SET_NAMES")?,
            retired,
            in_force: BTreeMap::new(),
            sets_in_force: BTreeMap::new(),
            commands: BTreeMap::new(),
            started: false,
        };
        writer.adopt(&scopes, there, of_sets);
        Ok(writer)
    }

    /// Takes over the lists that are in force.
    fn adopt(
        &mut self,
        scopes: &BTreeSet<u32>,
        policies: Vec<(u16, Policy)>,
        sets: Vec<(u16, u32)>,
    ) {
        let mut sources = self.scopes.trusted.entries(scopes);
        let mut clients = self.scopes.clients.entries(scopes);
        for (place, policy) in policies {
            let sources = sources.remove(&policy.scope).unwrap_or_default();
            let clients = clients.remove(&policy.scope).unwrap_or_default();
            let by_command = clients.iter().filter(|(_, value)| *value & access::FROM_COMMAND != 0);
            let commands = by_command.map(|(network, value)| (*network, verdict_of(*value)));
            self.commands.insert(place, commands.collect());
            self.in_force.insert(place, Lists { policy, sources, clients });
        }
        for (place, scope) in sets {
            let entries = clients.remove(&scope).unwrap_or_default();
            self.sets_in_force.insert(place, Members { scope, entries });
        }
    }

    /// The places of a configuration's sets, in their order.
    pub(crate) fn set_places(&self, config: &Config) -> Result<Vec<u16>> {
        let names: Vec<_> = config.sets.iter().map(|set| &*set.name).collect();
        // Rules of iptables may still look at the places of sets that have left.
        self.set_places.find_unused(&names)
    }

    /// Puts a configuration in force; returns the places of its listeners, in their order.
    ///
    /// # Errors
    /// If the maps do not take it; then what was in force is.
    pub(crate) fn apply(&mut self, config: &Config) -> Result<Vec<u16>> {
        let names: Vec<_> = config.listeners.iter().map(|listener| &*listener.name).collect();
        let places = self.listener_places.find(&names)?;
        let set_places = self.set_places(config)?;
        let (lists, sets) = self.prepare(config, &places, &set_places)?;
        for ((place, listener), lists) in places.iter().zip(&config.listeners).zip(lists) {
            if !self.listener_places.is_of(*place, &listener.name) {
                self.commands.remove(place);
                self.listener_places.take(*place, &listener.name)?;
            }
            self.write_settings(*place, listener)?;
            self.enforce(*place, lists)?;
        }
        for ((place, set), members) in set_places.iter().zip(&config.sets).zip(sets) {
            self.set_places.take(*place, &set.name)?;
            self.enforce_set(*place, members)?;
        }
        let ports = config.listeners.iter().map(|listener| listener.ports.iter().copied());
        let wanted = Wanted::new(places.iter().copied().zip(ports));
        ports::write(&mut self.ports, &wanted, &self.retired)?;
        self.leave(&places)?;
        self.leave_sets(&set_places)?;
        self.started = true;
        Ok(places)
    }

    /// Writes all lists that are new where nobody looks.
    fn prepare(
        &mut self,
        config: &Config,
        places: &[u16],
        set_places: &[u16],
    ) -> Result<(Vec<Lists>, Vec<Members>)> {
        let (mut lists, mut sets) = (Vec::new(), Vec::new());
        let mut prepare = || {
            for (place, listener) in places.iter().zip(&config.listeners) {
                lists.push(self.prepare_listener(*place, listener)?);
            }
            for (place, set) in set_places.iter().zip(&config.sets) {
                sets.push(self.prepare_set(*place, set)?);
            }
            Ok(())
        };
        if let Err(error) = prepare() {
            // The new lists will not be used, so their scopes are given back.
            let made =
                lists.iter().map(|one| one.policy.scope).chain(sets.iter().map(|one| one.scope));
            let made: Vec<_> = made.filter(|scope| !self.is_in_force(*scope)).collect();
            for scope in made {
                self.scopes.replaced(scope);
            }
            return Err(error);
        }
        Ok((lists, sets))
    }

    fn is_in_force(&self, scope: u32) -> bool {
        self.in_force.values().any(|lists| lists.policy.scope == scope)
            || self.sets_in_force.values().any(|members| members.scope == scope)
    }

    fn prepare_listener(&mut self, place: u16, listener: &Listener) -> Result<Lists> {
        let none = Commands::new();
        // Not those of a listener that has left.
        let stays = self.listener_places.is_of(place, &listener.name);
        let commands = self.commands.get(&place).filter(|_| stays);
        let sources = sources(&listener.trusted);
        let clients = clients(listener, commands.unwrap_or(&none));
        let there = self.in_force.get(&place);
        let there = there.filter(|there| there.sources == sources && there.clients == clients);
        let scope = match there {
            Some(there) => there.policy.scope,
            None => self.scopes.write(&sources, &clients)?,
        };
        let before = self.in_force.get(&place).map(|there| there.policy);
        // Connections that were marked keep their mark.
        let mark = before.filter(|_| listener.denied != Denied::Mark).map(|policy| policy.mark);
        let policy = Policy {
            scope,
            mark: mark.unwrap_or(listener.mark),
            untrusted: listener.untrusted as u8,
            denied: listener.denied as u8,
            otherwise: value(otherwise(listener)),
            judges: u8::from(!clients.is_empty() || listener.allow.is_given()),
            reserved: [0; 4],
        };
        Ok(Lists { policy, sources, clients })
    }

    fn prepare_set(&mut self, place: u16, set: &Set) -> Result<Members> {
        let entries = members(set);
        let there = self.sets_in_force.get(&place).filter(|there| there.entries == entries);
        let scope = match there {
            Some(there) => there.scope,
            None => self.scopes.write(&Entries::new(), &entries)?,
        };
        Ok(Members { scope, entries })
    }

    /// Lets the kernel programs judge by these lists from now on.
    fn enforce(&mut self, place: u16, lists: Lists) -> Result<()> {
        let policy = lists.policy;
        let old = self.in_force.get(&place).map(|old| old.policy);
        if old != Some(policy) {
            self.policies
                .insert(u32::from(place), Raw(policy), 0)
                .context("the policies cannot be written")?;
        }
        self.in_force.insert(place, lists);
        if let Some(old) = old.filter(|old| old.scope != policy.scope) {
            self.scopes.replaced(old.scope);
        }
        Ok(())
    }

    fn enforce_set(&mut self, place: u16, members: Members) -> Result<()> {
        let old = self.sets_in_force.get(&place).map(|old| old.scope);
        if old != Some(members.scope) {
            let context = "the sets cannot be written";
            self.sets.insert(u32::from(place), members.scope, 0).context(context)?;
            if let Some(old) = old {
                self.scopes.replaced(old);
            }
        }
        self.sets_in_force.insert(place, members);
        Ok(())
    }

    fn write_settings(&mut self, place: u16, listener: &Listener) -> Result<()> {
        let Raw(old) =
            self.settings.get(&place.into(), 0).context("the listeners cannot be read")?;
        let mut new = settings_of(listener);
        // Connections that are marked keep their mark.
        new.flags |= old.flags & ListenerSettings::MARKS;
        // What has been learnt lasts until the agent is started again.
        if self.started && old.hand_off == new.hand_off {
            new.flags |= old.flags & ListenerSettings::STACK_REFUSES;
        }
        if new != old {
            self.settings
                .set(place.into(), Raw(new), 0)
                .context("the listeners cannot be written")?;
        }
        Ok(())
    }

    /// Has the new connections of the listener at this place translated.
    pub(crate) fn set_stack_refuses(&mut self, place: u16) -> Result<()> {
        let Raw(mut settings) =
            self.settings.get(&place.into(), 0).context("the listeners cannot be read")?;
        settings.flags |= ListenerSettings::STACK_REFUSES;
        self.settings.set(place.into(), Raw(settings), 0).context("the listeners cannot be written")
    }

    /// Forgets the listeners that are at none of these places; no port is theirs any more.
    fn leave(&mut self, places: &[u16]) -> Result<()> {
        let taken = by_place(self.policies.iter())?;
        for (place, _) in taken.into_iter().filter(|(place, _)| !places.contains(place)) {
            remove(&mut self.policies, &place.into()).context("the policies cannot be written")?;
            self.commands.remove(&place);
            if let Some(lists) = self.in_force.remove(&place) {
                self.scopes.replaced(lists.policy.scope);
            }
        }
        Ok(())
    }

    fn leave_sets(&mut self, places: &[u16]) -> Result<()> {
        let taken = by_place(self.sets.iter())?;
        for (place, _) in taken.into_iter().filter(|(place, _)| !places.contains(place)) {
            remove(&mut self.sets, &place.into()).context("the sets cannot be written")?;
            if let Some(members) = self.sets_in_force.remove(&place) {
                self.scopes.replaced(members.scope);
            }
        }
        Ok(())
    }

    /// Makes, changes or, with `None`, removes a rule of a command.
    pub(crate) fn command(
        &mut self,
        place: u16,
        listener: &Listener,
        network: IpNet,
        verdict: Option<Verdict>,
    ) -> Result<()> {
        let before = self.commands.get(&place).cloned();
        let commands = self.commands.entry(place).or_default();
        match verdict {
            Some(verdict) => commands.insert(network, verdict),
            None => commands.remove(&network),
        };
        let done = self.renew(place, listener, network);
        if done.is_err() {
            self.commands.insert(place, before.unwrap_or_default());
        }
        done
    }

    /// Updates the lists after a command for one network. Mostly this changes one element of a trie, without a search
    /// through a large list.
    fn renew(&mut self, place: u16, listener: &Listener, network: IpNet) -> Result<()> {
        let judges = self.in_force.get(&place).is_some_and(|there| there.policy.judges != 0);
        // Other networks depend on these.
        if !judges || network.prefix_len() == 0 || covers_ipv4(&network) {
            let lists = self.prepare_listener(place, listener)?;
            return self.enforce(place, lists);
        }
        let Some(there) = self.in_force.get_mut(&place) else { return Ok(()) };
        let scope = there.policy.scope;
        match value_of(listener, &self.commands[&place], &network) {
            Some(value) => {
                self.scopes.clients.set(scope, &network, value)?;
                there.clients.insert(network, value);
            }
            None if there.clients.contains_key(&network) => {
                self.scopes.clients.unset(scope, &network)?;
                there.clients.remove(&network);
            }
            None => {}
        }
        Ok(())
    }

    /// What commands say of a listener's clients.
    pub(crate) fn commands(&self, place: u16) -> Commands {
        self.commands.get(&place).cloned().unwrap_or_default()
    }

    /// The verdict of the kernel's maps on a client.
    pub(crate) fn judge(&self, place: u16, client: IpAddr) -> Result<Verdict> {
        let Raw(policy) =
            self.policies.get(&place.into(), 0).context("the policies cannot be read")?;
        let found = self.scopes.clients.get(policy.scope, client)?;
        Ok(verdict_of(found.unwrap_or(policy.otherwise)))
    }

    /// Removes lists that were replaced.
    pub(crate) fn sweep(&mut self) -> Result<()> {
        self.scopes.sweep()
    }
}

/// What a map has, by place.
fn by_place<V>(entries: impl Iterator<Item = Result<(u32, V), MapError>>) -> Result<Vec<(u16, V)>> {
    let entries = entries.map(|entry| {
        let (place, value) = entry.context("what is in force cannot be read")?;
        Ok((u16::try_from(place)?, value))
    });
    entries.collect()
}
