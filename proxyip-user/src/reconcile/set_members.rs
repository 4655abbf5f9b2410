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
use crate::config::{Config, Networks, Set};
use crate::desired::networks::{Entries, members};
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

/// What was at a place before a change.
pub(super) struct Before {
    place: u16,
    name: String,
    members: Option<Arc<Members>>,
}

/// The members of a set, and their scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Members {
    pub(super) scope: u32,
    /// What they were made from; `None` if that is not known.
    made_from: Option<Networks>,
    entries: Arc<Entries>,
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

    /// The places of a configuration's sets, in their order.
    pub(super) fn find(&self, config: &Config) -> Result<Vec<u16>> {
        let names: Vec<_> = config.sets.iter().map(|set| &*set.name).collect();
        // Rules of iptables may still look at the places of sets that have left.
        self.places.find_unused(&names)
    }

    /// Writes a set's members where nobody looks, if they are new.
    pub(super) fn prepare(
        &self,
        scopes: &mut Scopes,
        place: u16,
        set: &Set,
    ) -> Result<Arc<Members>> {
        let there = self.in_force.get(&place);
        let made_from = Some(set.networks.clone());
        if let Some(there) = there.filter(|there| there.made_from == made_from) {
            return Ok(Arc::clone(there));
        }
        let entries = Arc::new(members(set));
        let there = there.filter(|there| there.entries == entries);
        let scope = match there {
            Some(there) => there.scope,
            None => scopes.write(&Entries::new(), &entries)?,
        };
        Ok(Arc::new(Members { scope, made_from, entries }))
    }

    /// What is at a place now, to put it back there.
    pub(super) fn at(&self, place: u16) -> Before {
        let name = self.places.name(place).to_owned();
        Before { place, name, members: self.in_force.get(&place).cloned() }
    }

    /// Puts back what was at a place.
    ///
    /// # Errors
    /// If the maps cannot be written: then what is there now stays.
    pub(super) fn put_back(&mut self, scopes: &mut Scopes, before: Before) -> Result<()> {
        let Before { place, name, members } = before;
        match members {
            Some(members) => {
                scopes.restored(members.scope);
                self.enforce(scopes, place, members)?;
            }
            None => self.forget(scopes, place)?,
        }
        self.places.take(place, &name)
    }

    /// Puts a set in force, with members that [`SetMembers::prepare`] has written.
    pub(super) fn put_in_force(
        &mut self,
        scopes: &mut Scopes,
        (place, set): (u16, &Set),
        members: Arc<Members>,
    ) -> Result<()> {
        self.places.take(place, &set.name)?;
        step();
        self.enforce(scopes, place, members)
    }

    fn enforce(&mut self, scopes: &mut Scopes, place: u16, members: Arc<Members>) -> Result<()> {
        let old = self.in_force.get(&place).map(|old| old.scope);
        if old != Some(members.scope) {
            let context = "the sets cannot be written";
            let word = set_word(place.into(), members.scope);
            patiently(|| self.sets.insert(u32::from(place), word, 0)).context(context)?;
            if let Some(old) = old {
                scopes.replaced(old);
            }
        }
        self.in_force.insert(place, members);
        Ok(())
    }

    /// Forgets the sets that are at none of these places.
    pub(super) fn leave(&mut self, scopes: &mut Scopes, places: &[u16]) -> Result<()> {
        let gone: Vec<_> = self.in_force.keys().copied().collect();
        gone.into_iter()
            .filter(|place| !places.contains(place))
            .try_for_each(|place| self.forget(scopes, place))
    }

    fn forget(&mut self, scopes: &mut Scopes, place: u16) -> Result<()> {
        step();
        remove(&mut self.sets, &place.into()).context("the sets cannot be written")?;
        if let Some(members) = self.in_force.remove(&place) {
            scopes.replaced(members.scope);
        }
        Ok(())
    }
}
