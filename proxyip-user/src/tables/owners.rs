//! Who writes which map: each map that the agent writes has one module that does.
//!
//! A handle that can write needs a [`Claim`], which the compiler grants to the map's owner alone. All other handles
//! are [`Readable`]. So two modules never write one map without knowing of each other.

use std::ops::Deref;

/// The maps that the agent writes, each with the path of the module that does.
pub(crate) const OWNERS: &[(&str, &str)] = &[
    ("NAMESPACES", "proxyip_user::reconcile::namespaces"),
    ("PROGRAMS", "proxyip_user::tables::programs"),
    ("XDP_PROGRAMS", "proxyip_user::tables::programs"),
    ("ROUTES", "proxyip_user::tables::routes"),
    ("LISTENERS", "proxyip_user::reconcile::listeners"),
    ("POLICIES", "proxyip_user::reconcile::listeners"),
    ("FALLBACKS", "proxyip_user::reconcile::fallbacks"),
    ("SETS", "proxyip_user::reconcile::set_members"),
    ("LISTENER_NAMES", "proxyip_user::reconcile::places"),
    ("SET_NAMES", "proxyip_user::reconcile::places"),
    ("TRUSTED", "proxyip_user::tables::trie"),
    ("CLIENTS", "proxyip_user::tables::trie"),
    ("PORTS", "proxyip_user::tables::ports"),
    ("DRAINED", "proxyip_user::tables::drained"),
    ("MUTED", "proxyip_user::tables::muted"),
    ("SECRETS", "proxyip_user::tables::secrets"),
    ("FLOWS", "proxyip_user::reap::unnoticed"),
    ("TRANSLATIONS", "proxyip_user::reap::translations"),
    ("PARTIAL_HEADERS", "proxyip_user::reap::partial_headers"),
    ("HEADER_BYTES", "proxyip_user::reap::partial_headers"),
    ("DROPS_BY_AGENT", "proxyip_user::reap::partial_headers"),
    ("REFUSED_BY_AGENT", "proxyip_user::reap::partial_headers"),
];

/// The right to write a map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim(&'static str);

impl Claim {
    /// Use [`claim!`], which fills in the module.
    ///
    /// # Panics
    /// If the module is not the map's owner. [`claim!`] asks at compile time.
    pub(crate) const fn new(map: &'static str, module: &str) -> Self {
        let mut at = 0;
        while at < OWNERS.len() {
            let (known, owner) = OWNERS[at];
            if same(known, map) && same(owner, module) {
                return Self(map);
            }
            at += 1;
        }
        panic!("another module writes this map: see OWNERS in tables/owners.rs")
    }

    /// The map's name.
    pub(crate) const fn map(&self) -> &'static str {
        self.0
    }
}

const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// A [`Claim`] of the calling module to a map. It does not compile elsewhere than in the map's owner.
macro_rules! claim {
    ($map:literal) => {
        const { $crate::tables::owners::Claim::new($map, module_path!()) }
    };
}
pub(crate) use claim;

/// A handle of a map for reading: the library writes through exclusive references, which this never gives.
#[derive(Clone, Debug)]
pub(crate) struct Readable<T>(T);

impl<T> Readable<T> {
    pub(super) const fn new(map: T) -> Self {
        Self(map)
    }
}

impl<T> Deref for Readable<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/architecture/state.md");

    /// The maps of the document's table, and who writes each.
    fn documented() -> BTreeMap<&'static str, &'static str> {
        let rows = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `"));
        let mut writers = BTreeMap::new();
        for row in rows {
            let cells: Vec<_> = row.split(" | ").collect();
            if let [names, _, writer, _] = cells[..] {
                for name in names.split(", ") {
                    writers.insert(name.trim_matches('`'), writer);
                }
            }
        }
        writers
    }

    #[test]
    fn the_document_names_the_owner_of_each_map() {
        let documented = documented();
        assert!(documented.len() > OWNERS.len(), "{documented:?}");
        for (map, module) in OWNERS {
            let path = module.trim_start_matches("proxyip_user::").replace("::", "/");
            let writer = documented[map];
            assert!(writer.contains(&format!("`{path}`")), "{map}: {writer}");
        }
        for (map, writer) in documented {
            let owned = OWNERS.iter().any(|(owned, _)| *owned == map);
            assert_eq!(writer.contains("agent"), owned, "{map}: {writer}");
        }
    }

    #[test]
    fn a_map_has_one_owner() {
        let maps: BTreeMap<_, _> = OWNERS.iter().copied().collect();
        assert_eq!(maps.len(), OWNERS.len());
    }

    #[test]
    #[should_panic(expected = "another module writes this map")]
    fn nobody_else_gets_a_claim() {
        Claim::new("PORTS", module_path!());
    }
}
