//! The members of named sets, as the kernel programs look them up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData};
use proxyip_common::policy::{scope_of_set, set_word};

use super::places::{Places, by_place};
use super::scopes::Scopes;
use crate::bpf::patience::patiently;
use crate::bpf::set_programs::Watched;
use crate::config::Config;
use crate::desired::lists::Members;
use crate::desired::networks::Entries;
use crate::desired::plan::policy::SetThere;
use crate::steps::step;
use crate::tables::fill::Level;
use crate::tables::maps::{open_owned, remove};
use crate::tables::owners::claim;

/// Writes them.
pub(super) struct SetMembers {
    /// Scopes, by place.
    sets: HashMap<MapData, u32, u64>,
    places: Places,
    /// The members of each set in force, by place.
    in_force: BTreeMap<u16, Arc<Members>>,
}

impl SetMembers {
    /// Opens the maps. What an agent before this one has put in force stays, but it is not known until
    /// [`SetMembers::adopt`].
    pub(super) fn open(pin_path: &Path) -> Result<Self> {
        let sets: HashMap<MapData, u32, u64> = open_owned(pin_path, &claim!("SETS"))?;
        let there: Vec<(u16, u64)> = by_place(sets.iter())?;
        let members = |scope| Arc::new(Members { scope, made_from: None, entries: Arc::default() });
        let scope = |(place, word): (u16, u64)| Some((place, scope_of_set(word, place.into())?));
        let in_force = there.into_iter().filter_map(scope);
        let in_force = in_force.map(|(place, scope)| (place, members(scope))).collect();
        Ok(Self { sets, places: Places::of_sets(pin_path)?, in_force })
    }

    /// The scopes of the members in force.
    pub(super) fn scopes(&self) -> BTreeSet<u32> {
        self.in_force.values().map(|members| members.scope).collect()
    }

    /// How many places have been taken, now and later.
    pub(super) fn fill_level(&self) -> Level {
        self.places.fill_level()
    }

    /// Takes over the members in force, by scope.
    pub(super) fn adopt(&mut self, entries: &mut BTreeMap<u32, Entries>) {
        for members in self.in_force.values_mut() {
            let there = entries.remove(&members.scope).unwrap_or_default();
            Arc::make_mut(members).entries = there.into();
        }
    }

    /// Frees the places of sets that have left, unless a rule of iptables still looks there. `watched` says where rules look.
    pub(super) fn free(
        &mut self,
        config: &Config,
        watched: impl FnOnce() -> Result<Watched>,
    ) -> Result<()> {
        let stays = |name: &str| config.sets.iter().any(|set| set.name == name);
        let mut left = self.places.taken();
        left.retain(|(place, name)| !stays(name) && !self.in_force.contains_key(place));
        if left.is_empty() {
            return Ok(());
        }
        let watched = watched()?;
        if matches!(watched, Watched::Unknown) {
            tracing::warn!(
                "sets that have left keep their places: rules of iptables have programs of another version; load these rules \
                 again, and reload"
            );
        }
        left.retain(|(place, _)| watched.is_free(*place));
        for (place, _) in left {
            step();
            self.places.free(place)?;
        }
        Ok(())
    }

    /// The places of a configuration's sets, in their order.
    pub(super) fn find(&self, config: &Config) -> Result<Vec<u16>> {
        let names: Vec<_> = config.sets.iter().map(|set| &*set.name).collect();
        // Rules of iptables may still look at the places of sets that have left.
        self.places.find_unused(&names)
    }

    /// The places that have members.
    pub(super) fn places(&self) -> impl Iterator<Item = u16> {
        self.in_force.keys().copied()
    }

    /// What is at a place.
    pub(super) fn there(&self, place: u16) -> SetThere<'_> {
        SetThere { name: self.places.name(place), members: self.in_force.get(&place) }
    }

    /// Notes who has a place.
    pub(super) fn take_place(&mut self, place: u16, name: &str) -> Result<()> {
        self.places.take(place, name)
    }

    /// Has the kernel programs look among these members from now on.
    pub(super) fn enforce(
        &mut self,
        scopes: &mut Scopes,
        place: u16,
        members: Arc<Members>,
    ) -> Result<()> {
        let old = self.in_force.get(&place).map(|old| old.scope);
        if old != Some(members.scope) {
            let context = "the sets cannot be written";
            let word = set_word(place.into(), members.scope);
            patiently(|| self.sets.insert(u32::from(place), word, 0)).context(context)?;
            if let Some(old) = old {
                scopes.replaced(old);
            }
        }
        scopes.used(members.scope);
        self.in_force.insert(place, members);
        Ok(())
    }

    /// Leaves no members at a place.
    pub(super) fn forget(&mut self, scopes: &mut Scopes, place: u16) -> Result<()> {
        remove(&mut self.sets, &place.into()).context("the sets cannot be written")?;
        if let Some(members) = self.in_force.remove(&place) {
            scopes.replaced(members.scope);
        }
        Ok(())
    }
}
