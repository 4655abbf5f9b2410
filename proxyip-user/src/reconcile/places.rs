//! The places of listeners and sets in the kernel's maps, which they keep as long as the maps are pinned.

use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{Array, MapData, MapError};
use proxyip_common::settings::Name;

use crate::bpf::pod::Raw;
use crate::tables::fill::{Count, Level};
use crate::tables::maps::open_owned;
use crate::tables::owners::{Claim, claim};

/// Who has which place.
pub(crate) struct Places {
    map: Array<MapData, Raw<Name>>,
    /// Empty where nobody is.
    names: Vec<String>,
    map_name: &'static str,
    /// How many places have been taken.
    taken: Count,
}

impl Places {
    /// Those of listeners.
    pub(crate) fn of_listeners(pin_path: &Path) -> Result<Self> {
        Self::open(pin_path, &claim!("LISTENER_NAMES"))
    }

    /// Those of sets.
    pub(crate) fn of_sets(pin_path: &Path) -> Result<Self> {
        Self::open(pin_path, &claim!("SET_NAMES"))
    }

    fn open(pin_path: &Path, claim: &Claim) -> Result<Self> {
        let map: Array<MapData, Raw<Name>> = open_owned(pin_path, claim)?;
        let names = (0..map.len()).map(|place| {
            let Raw(name) = map.get(&place, 0).context("the names cannot be read")?;
            Ok(text(&name))
        });
        let names = names.collect::<Result<_>>()?;
        let places = Self { map, names, map_name: claim.map(), taken: Count::default() };
        places.count();
        Ok(places)
    }

    /// How many have been taken, now and later.
    pub(crate) fn fill_level(&self) -> Level {
        Level { map: self.map_name, count: self.taken.clone(), most: self.map.len() }
    }

    fn count(&self) {
        let taken = self.names.iter().filter(|name| !name.is_empty());
        self.taken.set(taken.count() as u64);
    }

    /// A place for each name. A name that has a place keeps it. Places that are `dear` are given away last. This writes
    /// nothing.
    ///
    /// # Errors
    /// If there are more names than places.
    pub(crate) fn find(&self, wanted: &[&str], dear: impl Fn(u16) -> bool) -> Result<Vec<u16>> {
        self.find_among(wanted, &Reuse::Yes(&dear))
    }

    /// Finds places in the same way, but gives nobody the place of a name that has left.
    pub(crate) fn find_unused(&self, wanted: &[&str]) -> Result<Vec<u16>> {
        self.find_among(wanted, &Reuse::No)
    }

    fn find_among(&self, wanted: &[&str], reuse: &Reuse) -> Result<Vec<u16>> {
        places(&self.names, wanted, reuse).with_context(|| {
            let advice = match reuse {
                Reuse::No => "remove rules of iptables with sets that have left, and reload",
                Reuse::Yes(_) => "`proxyip detach` frees those that are not used",
            };
            format!("there are places for {} names, and each is taken: {advice}", self.names.len())
        })
    }

    /// Who has a place; empty if nobody has.
    pub(crate) fn name(&self, place: u16) -> &str {
        self.names.get(usize::from(place)).map_or("", String::as_str)
    }

    /// The place that a name has.
    pub(crate) fn place_of(&self, name: &str) -> Option<u16> {
        let place = self.names.iter().position(|there| there == name);
        place.and_then(|place| u16::try_from(place).ok())
    }

    /// All names with their places.
    pub(crate) fn taken(&self) -> Vec<(u16, String)> {
        let named = (0..).zip(&self.names).filter(|(_, name)| !name.is_empty());
        named.map(|(place, name)| (place, name.clone())).collect()
    }

    /// Notes that nobody has a place.
    pub(crate) fn free(&mut self, place: u16) -> Result<()> {
        self.take(place, "")
    }

    /// Notes who has a place.
    pub(crate) fn take(&mut self, place: u16, name: &str) -> Result<()> {
        let Some(there) = self.names.get_mut(usize::from(place)) else { return Ok(()) };
        if there != name {
            self.map
                .set(place.into(), Raw(bytes(name)), 0)
                .context("the names cannot be written")?;
            name.clone_into(there);
            self.count();
        }
        Ok(())
    }
}

/// What a map has, by place.
pub(crate) fn by_place<V>(
    entries: impl Iterator<Item = Result<(u32, V), MapError>>,
) -> Result<Vec<(u16, V)>> {
    let entries = entries.map(|entry| {
        let (place, value) = entry.context("what is in force cannot be read")?;
        Ok((u16::try_from(place)?, value))
    });
    entries.collect()
}

/// Whether names that have left give up their places.
enum Reuse<'a> {
    No,
    /// Those that this is true of give theirs up last.
    Yes(&'a dyn Fn(u16) -> bool),
}

fn places(names: &[String], wanted: &[&str], reuse: &Reuse) -> Option<Vec<u16>> {
    let at = |name: &str| names.iter().position(|there| there == name);
    // The unused places first: records of flows still refer to the last owner of a place.
    let unused = (0..names.len()).filter(|place| names[*place].is_empty());
    let left = (0..names.len())
        .filter(|place| !names[*place].is_empty() && !wanted.contains(&names[*place].as_str()));
    let left: Vec<_> = match reuse {
        Reuse::No => Vec::new(),
        Reuse::Yes(dear) => {
            let is_dear = |place: &usize| u16::try_from(*place).is_ok_and(dear);
            let (dear, cheap): (Vec<_>, Vec<_>) = left.partition(is_dear);
            cheap.into_iter().chain(dear).collect()
        }
    };
    let mut free = unused.chain(left);
    let places = wanted.iter().map(|name| at(name).or_else(|| free.next()));
    places.map(|place| u16::try_from(place?).ok()).collect()
}

fn bytes(name: &str) -> Name {
    let mut bytes = [0; Name::MAX];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    Name(bytes)
}

fn text(Name(bytes): &Name) -> String {
    let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_places() {
        for (there, wanted, expected) in [
            (&["", "", ""][..], &["a", "b"][..], Some(vec![0, 1])),
            (&["a", "b", ""], &["b", "a"], Some(vec![1, 0])),
            (&["a", "b", ""], &["c", "b"], Some(vec![2, 1])),
            (&["a", "b"], &["b", "c"], Some(vec![1, 0])),
            (&["a"], &["a", "b"], None),
        ] {
            let there: Vec<_> = there.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(
                places(&there, wanted, &Reuse::Yes(&|_| false)),
                expected,
                "{there:?} {wanted:?}"
            );
        }
        let there = ["a".to_owned(), "b".to_owned()];
        let none = places(&there, &["b", "c"], &Reuse::No);
        assert_eq!(none, None, "a rule may still look at place 0");
    }

    #[test]
    fn a_place_with_rules_of_commands_is_given_away_last() {
        let there = ["a", "b", "c"].map(str::to_owned);
        let dear = |place| place == 0;
        let find = |wanted: &[&str]| places(&there, wanted, &Reuse::Yes(&dear));
        assert_eq!(find(&["new"]), Some(vec![1]));
        assert_eq!(find(&["new", "newer", "newest"]), Some(vec![1, 2, 0]));
    }

    #[test]
    fn names_come_back_as_they_were() {
        for name in ["web", "", "überall", &"x".repeat(Name::MAX)] {
            assert_eq!(text(&bytes(name)), name);
        }
    }
}
