//! Listeners, their policies and their lists of networks, as the kernel programs look them up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, MapData};
use proxyip_common::policy::PolicyWords;
use proxyip_common::settings::{DrainedPort, ListenerSettings, access};

use super::places::{Places, by_place};
use super::scopes::Scopes;
use crate::bpf::patience::patiently;
use crate::bpf::pod::Raw;
use crate::config::Config;
use crate::desired::lists::Lists;
use crate::desired::networks::{Commands, Entries, verdict_of};
use crate::desired::plan::policy::ListenerThere;
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

    /// The places that have lists.
    pub(super) fn places(&self) -> impl Iterator<Item = u16> {
        self.in_force.keys().copied()
    }

    /// What is at a place.
    pub(super) fn there(&self, place: u16) -> Result<ListenerThere<'_>> {
        Ok(ListenerThere {
            name: self.places.name(place),
            settings: self.settings(place)?,
            lists: self.in_force.get(&place),
            commands: self.commands.get(&place),
            drained: self.drained.ports().at(place),
        })
    }

    /// Notes who has a place.
    pub(super) fn take_place(&mut self, place: u16, name: &str) -> Result<()> {
        self.places.take(place, name)
    }

    /// Forgets what commands have done to the listener at a place.
    pub(super) fn forget_commanded(&mut self, place: u16) -> Result<()> {
        self.forget_commands(place);
        self.drained.remove(place, DrainedPort::ALL)
    }

    /// Notes it again.
    pub(super) fn restore_commanded(
        &mut self,
        place: u16,
        commands: Commands,
        drained: &[u16],
    ) -> Result<()> {
        self.commands.insert(place, commands);
        self.drained.put_back(place, drained)
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
        scopes.used(policy.scope);
        if let Some(old) = old.filter(|old| old.scope != policy.scope) {
            scopes.replaced(old.scope);
        }
        Ok(())
    }

    fn settings(&self, place: u16) -> Result<ListenerSettings> {
        let settings = self.settings.get(&place.into(), 0);
        Ok(settings.context("the listeners cannot be read")?.0)
    }

    pub(super) fn set_settings(&mut self, place: u16, settings: ListenerSettings) -> Result<()> {
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
}
