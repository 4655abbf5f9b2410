//! Listeners, their policies and their lists of networks, as the kernel programs look them up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, MapData};
use proxyip_common::policy::PolicyWords;
use proxyip_common::settings::{Denied, DrainedPort, ListenerSettings, Policy, access};

use super::places::{Places, by_place};
use super::scopes::Scopes;
use crate::bpf::patience::patiently;
use crate::bpf::pod::Raw;
use crate::config::{Config, Listener, Networks};
use crate::desired::networks::{Commands, Entries, clients, otherwise, sources, value, verdict_of};
use crate::desired::settings::settings_of;
use crate::steps::step;
use crate::tables::drained::{Change, DrainedMap, DrainedPorts};
use crate::tables::maps::{open_owned, remove};
use crate::tables::owners::claim;

/// Writes them.
pub(super) struct Listeners {
    settings: Array<MapData, Raw<ListenerSettings>>,
    pub(super) policies: HashMap<MapData, u32, Raw<PolicyWords>>,
    pub(super) places: Places,
    drained: DrainedMap,
    /// The lists of each listener in force, by place.
    pub(super) in_force: BTreeMap<u16, Arc<Lists>>,
    /// What commands have changed, by place.
    pub(super) commands: BTreeMap<u16, Commands>,
    /// A configuration of this agent's is in force.
    started: bool,
}

/// What was at a place before a change.
pub(super) struct Before {
    place: u16,
    name: String,
    commands: Option<Commands>,
    drained: Vec<u16>,
    settings: ListenerSettings,
    lists: Option<Arc<Lists>>,
}

/// The lists of a listener, and the policy that names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lists {
    pub(super) policy: Policy,
    /// What they were made from, with what commands have said; `None` if that is not known.
    pub(super) made_from: Option<MadeFrom>,
    pub(super) sources: Arc<Entries>,
    pub(super) clients: Arc<Entries>,
}

/// The lists of a listener as the configuration has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MadeFrom {
    trusted: Networks,
    allow: Networks,
    deny: Networks,
}

impl From<&Listener> for MadeFrom {
    fn from(listener: &Listener) -> Self {
        let Listener { trusted, allow, deny, .. } = listener;
        Self { trusted: trusted.clone(), allow: allow.clone(), deny: deny.clone() }
    }
}

impl MadeFrom {
    fn is_of(&self, listener: &Listener) -> bool {
        let Self { trusted, allow, deny } = self;
        (trusted, allow, deny) == (&listener.trusted, &listener.allow, &listener.deny)
    }
}

impl Listeners {
    /// Opens the maps. What an agent before this one has put in force stays, but its lists are not known until
    /// [`Listeners::adopt`].
    pub(super) fn open(pin_path: &Path) -> Result<Self> {
        let policies: HashMap<MapData, u32, Raw<PolicyWords>> =
            open_owned(pin_path, &claim!("POLICIES"))?;
        let there: Vec<(u16, Raw<PolicyWords>)> = by_place(policies.iter())?;
        let lists = there.into_iter().filter_map(|(place, Raw(words))| {
            let policy = words.policy(place)?;
            let (sources, clients) = <(Arc<Entries>, Arc<Entries>)>::default();
            let lists = Lists { policy, made_from: None, sources, clients };
            Some((place, Arc::new(lists)))
        });
        Ok(Self {
            settings: open_owned(pin_path, &claim!("LISTENERS"))?,
            in_force: lists.collect(),
            policies,
            places: Places::of_listeners(pin_path)?,
            drained: DrainedMap::open(pin_path)?,
            commands: BTreeMap::new(),
            started: false,
        })
    }

    /// The scopes of the lists in force.
    pub(super) fn scopes(&self) -> BTreeSet<u32> {
        self.in_force.values().map(|lists| lists.policy.scope).collect()
    }

    /// Takes over the lists in force, by scope, and what commands have changed in them.
    pub(super) fn adopt(
        &mut self,
        sources: &mut BTreeMap<u32, Entries>,
        clients: &mut BTreeMap<u32, Entries>,
    ) {
        for (place, lists) in &mut self.in_force {
            let lists = Arc::make_mut(lists);
            lists.sources = sources.remove(&lists.policy.scope).unwrap_or_default().into();
            lists.clients = clients.remove(&lists.policy.scope).unwrap_or_default().into();
            let by_command =
                lists.clients.iter().filter(|(_, value)| *value & access::FROM_COMMAND != 0);
            let commands = by_command.map(|(network, value)| (*network, verdict_of(*value)));
            self.commands.insert(*place, commands.collect());
        }
    }

    /// The places of a configuration's listeners, in their order.
    pub(super) fn find(&self, config: &Config) -> Result<Vec<u16>> {
        let names: Vec<_> = config.listeners.iter().map(|listener| &*listener.name).collect();
        let drained = self.drained.ports();
        // What commands have done to a listener outlasts its absence.
        self.places.find(&names, |place| !self.commands(place).is_empty() || drained.any(place))
    }

    /// Writes a listener's lists where nobody looks, if they are new.
    pub(super) fn prepare(
        &self,
        scopes: &mut Scopes,
        place: u16,
        listener: &Listener,
    ) -> Result<Arc<Lists>> {
        let is_of =
            |there: &Lists| there.made_from.as_ref().is_some_and(|made| made.is_of(listener));
        // Not those of a listener that has left.
        let stays = self.places.is_of(place, &listener.name);
        match self.in_force.get(&place).filter(|there| stays && is_of(there)) {
            // Sorting a million networks takes a second, so it is done for new ones alone.
            Some(there) => {
                let lists = Lists::clone(there);
                Ok(Arc::new(Lists { policy: self.policy(place, listener, &lists), ..lists }))
            }
            None => self.prepare_anew(scopes, place, listener),
        }
    }

    /// As [`Listeners::prepare`], also if commands have changed what the lists must say.
    pub(super) fn prepare_anew(
        &self,
        scopes: &mut Scopes,
        place: u16,
        listener: &Listener,
    ) -> Result<Arc<Lists>> {
        let none = Commands::new();
        let stays = self.places.is_of(place, &listener.name);
        let commands = self.commands.get(&place).filter(|_| stays);
        let sources = Arc::new(sources(&listener.trusted));
        let clients = Arc::new(clients(listener, commands.unwrap_or(&none)));
        let there = self.in_force.get(&place);
        let there = there.filter(|there| there.sources == sources && there.clients == clients);
        let scope = match there {
            Some(there) => there.policy.scope,
            None => scopes.write(&sources, &clients)?,
        };
        let made_from = Some(MadeFrom::from(listener));
        let policy = Policy { scope, ..Policy::default() };
        let lists = Lists { policy, made_from, sources, clients };
        Ok(Arc::new(Lists { policy: self.policy(place, listener, &lists), ..lists }))
    }

    /// The policy of a listener at this place that has these lists.
    fn policy(&self, place: u16, listener: &Listener, lists: &Lists) -> Policy {
        let before = self.in_force.get(&place).map(|there| there.policy);
        // Connections that were marked keep their mark.
        let mark = before.filter(|_| listener.denied != Denied::Mark).map(|policy| policy.mark);
        Policy {
            scope: lists.policy.scope,
            mark: mark.unwrap_or(listener.mark),
            untrusted: listener.untrusted as u8,
            denied: listener.denied as u8,
            otherwise: value(otherwise(listener)),
            judges: u8::from(!lists.clients.is_empty() || listener.allow.is_given()),
            reserved: [0; 4],
        }
    }

    /// What is at a place now, to put it back there.
    pub(super) fn at(&self, place: u16) -> Result<Before> {
        Ok(Before {
            place,
            name: self.places.name(place).to_owned(),
            commands: self.commands.get(&place).cloned(),
            drained: self.drained.ports().at(place),
            settings: self.settings(place)?,
            lists: self.in_force.get(&place).cloned(),
        })
    }

    /// Puts a listener in force, with lists that [`Listeners::prepare`] has written.
    pub(super) fn put_in_force(
        &mut self,
        scopes: &mut Scopes,
        (place, listener): (u16, &Listener),
        lists: Arc<Lists>,
    ) -> Result<()> {
        if !self.places.is_of(place, &listener.name) {
            self.forget_commands(place);
            self.drained.remove(place, DrainedPort::ALL)?;
            self.places.take(place, &listener.name)?;
        }
        step();
        self.write_settings(place, listener)?;
        step();
        self.enforce(scopes, place, lists)
    }

    /// Puts back what was at a place.
    ///
    /// # Errors
    /// If the maps cannot be written: then what is there now stays.
    pub(super) fn put_back(&mut self, scopes: &mut Scopes, before: Before) -> Result<()> {
        let Before { place, name, commands, drained, settings, lists } = before;
        match lists {
            Some(lists) => {
                scopes.restored(lists.policy.scope);
                self.enforce(scopes, place, lists)?;
            }
            None => self.forget(scopes, place)?,
        }
        // In this order: the kernel programs look for drained ports when the settings say so.
        self.drained.put_back(place, &drained)?;
        self.set_settings(place, settings)?;
        self.places.take(place, &name)?;
        match commands {
            Some(commands) => drop(self.commands.insert(place, commands)),
            None => drop(self.commands.remove(&place)),
        }
        Ok(())
    }

    /// Removes the policy and lists at a place.
    pub(super) fn forget(&mut self, scopes: &mut Scopes, place: u16) -> Result<()> {
        remove(&mut self.policies, &place.into()).context("the policies cannot be written")?;
        if let Some(lists) = self.in_force.remove(&place) {
            scopes.replaced(lists.policy.scope);
        }
        Ok(())
    }

    /// Lets the kernel programs judge by these lists from now on.
    pub(super) fn enforce(
        &mut self,
        scopes: &mut Scopes,
        place: u16,
        lists: Arc<Lists>,
    ) -> Result<()> {
        let policy = lists.policy;
        let old = self.in_force.get(&place).map(|old| old.policy);
        if old != Some(policy) {
            let words = Raw(PolicyWords::new(place, &policy));
            patiently(|| self.policies.insert(u32::from(place), words, 0))
                .context("the policies cannot be written")?;
        }
        self.in_force.insert(place, lists);
        if let Some(old) = old.filter(|old| old.scope != policy.scope) {
            scopes.replaced(old.scope);
        }
        Ok(())
    }

    fn write_settings(&mut self, place: u16, listener: &Listener) -> Result<()> {
        let old = self.settings(place)?;
        let mut new = settings_of(listener);
        // Connections that are marked keep their mark.
        new.flags |= old.flags & ListenerSettings::MARKS;
        // What has been learnt lasts until the agent is started again.
        if self.started && old.hand_off == new.hand_off {
            new.flags |= old.flags & ListenerSettings::FALLS_BACK;
        }
        if self.drained.ports().any(place) {
            new.flags |= ListenerSettings::DRAINS;
        }
        if new != old {
            self.set_settings(place, new)?;
        }
        Ok(())
    }

    fn settings(&self, place: u16) -> Result<ListenerSettings> {
        let settings = self.settings.get(&place.into(), 0);
        Ok(settings.context("the listeners cannot be read")?.0)
    }

    fn set_settings(&mut self, place: u16, settings: ListenerSettings) -> Result<()> {
        self.settings.set(place.into(), Raw(settings), 0).context("the listeners cannot be written")
    }

    /// What is drained, now and later.
    pub(super) fn drained(&self) -> DrainedPorts {
        self.drained.ports()
    }

    /// Drains or resumes a port of the listener at this place, or all.
    pub(super) fn drain(&mut self, place: u16, port: u16, change: Change) -> Result<()> {
        match change {
            Change::Drain => self.drained.add(place, port)?,
            Change::Resume => self.drained.remove(place, port)?,
        }
        let mut settings = self.settings(place)?;
        settings.flags &= !ListenerSettings::DRAINS;
        if self.drained.ports().any(place) {
            settings.flags |= ListenerSettings::DRAINS;
        }
        self.set_settings(place, settings)
    }

    /// Has the kernel programs look for fallbacks of the listener's ports.
    pub(super) fn set_falls_back(&mut self, place: u16) -> Result<()> {
        let mut settings = self.settings(place)?;
        settings.flags |= ListenerSettings::FALLS_BACK;
        self.set_settings(place, settings)
    }

    /// Forgets the listeners that are at none of these places; no port is theirs any more. What commands have said of
    /// them is kept: the listener may come back.
    pub(super) fn leave(&mut self, scopes: &mut Scopes, places: &[u16]) -> Result<()> {
        self.started = true;
        let gone: Vec<_> = self.in_force.keys().copied().collect();
        for place in gone.into_iter().filter(|place| !places.contains(place)) {
            step();
            if self.commands(place).is_empty() {
                self.commands.remove(&place);
                self.forget(scopes, place)?;
            } else {
                self.keep_commands(scopes, place)?;
            }
        }
        Ok(())
    }
}
