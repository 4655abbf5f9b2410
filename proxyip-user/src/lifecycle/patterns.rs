//! What the patterns of the configuration have found.

use proxyip_api::finding::{Finding, FindingKind};

use super::interface::Interface as Served;
use super::of_namespace::OfNamespace;
use crate::config::{Interface, Namespaces};
use crate::host::matching::{files, is_incomplete, why_nothing};
use crate::watch::guarding::Place;

/// A sentence for each entry with a pattern that finds no interface.
pub(super) fn unmatched(interfaces: &[Interface], namespaces: &[OfNamespace]) -> Vec<Finding> {
    let patterns = interfaces.iter().filter(|entry| entry.is_pattern());
    let finding = |entry: &Interface| Finding::new(FindingKind::MatchesNothing, sentence(entry));
    patterns.filter(|entry| !finds(entry, namespaces)).map(finding).collect()
}

fn finds(entry: &Interface, namespaces: &[OfNamespace]) -> bool {
    let within = namespaces.iter().filter(|one| entry.netns.contains(one.netns()));
    within.flat_map(|one| one.interfaces.values()).any(|one| entry.name.contains(&one.name))
}

/// A sentence for each entry that finds interfaces, and files on which no namespace is mounted too.
pub(super) fn unmounted(interfaces: &[Interface], namespaces: &[OfNamespace]) -> Vec<Finding> {
    let found = interfaces.iter().filter(|entry| finds(entry, namespaces));
    let finding = |said| Finding::new(FindingKind::NamespaceUnmounted, said);
    found.filter_map(said_of_unmounted).map(finding).collect()
}

/// The same of one entry; `None` if a namespace is mounted on each file.
pub(crate) fn said_of_unmounted(Interface { netns, .. }: &Interface) -> Option<String> {
    let Namespaces::Like(pattern) = netns else { return None };
    let why = why_nothing(pattern)?;
    Some(format!("[[interface]] netns {:?}: {why}", netns.to_string()))
}

/// What an entry says that matches nothing.
pub(crate) fn sentence(Interface { name, netns, .. }: &Interface) -> String {
    let why = match netns {
        Namespaces::Like(pattern) => why_nothing(pattern),
        Namespaces::One(_) => None,
    };
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    format!(
        "[[interface]] name {:?}, netns {:?}: matches nothing yet{why}",
        name.to_string(),
        netns.to_string()
    )
}

/// Whether namespaces may be there that the agent cannot see: a mount may be missing.
pub(super) fn may_miss(interfaces: &[Interface]) -> bool {
    interfaces.iter().any(|one| match &one.netns {
        Namespaces::Like(pattern) => files(pattern).is_empty() || is_incomplete(&one.netns),
        Namespaces::One(_) => false,
    })
}

/// The interfaces that are there to be attached to.
pub(super) fn served(namespaces: &[OfNamespace]) -> Vec<Place> {
    let of = |one: &OfNamespace| {
        let there = one.interfaces.values().filter(|one| one.index.is_some());
        let netns = one.netns().clone();
        let place = |one: &Served| Place {
            name: one.name.clone(),
            netns: netns.clone(),
            xdp: one.door.said(),
        };
        there.map(place).collect::<Vec<_>>()
    };
    namespaces.iter().flat_map(of).collect()
}
