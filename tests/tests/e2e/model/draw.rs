//! What is drawn: configurations, and what is changed in them.

use std::collections::{BTreeMap, BTreeSet};

use proxyip_tests::networks::NETWORKS;
use proxyip_tests::random::Random;

use super::files::{Content, Files, Place, SET, lists};
use super::policy::{List, Listener, Networks, Nobody, Policy, Treatment};
use super::probe::PORTS;

pub(super) const LISTENERS: [&str; 4] = ["web", "api", "mail", "git"];
pub(super) const SETS: [&str; 2] = ["office", "lab"];

/// Marks of denied clients.
const MARKS: [u32; 2] = [0x50, 0x2100_0000];

/// Networks of the sources, within one another too.
const SOURCES: [&str; 8] = [
    "10.77.1.2/32",
    "10.77.1.3/32",
    "10.77.1.2/31",
    "10.77.0.0/16",
    "fd00:77:1::2/128",
    "fd00:77:1::3/128",
    "fd00:77::/32",
    "::/0",
];

/// All lists that a configuration may have.
pub(super) fn places() -> impl Iterator<Item = Place> {
    let kinds = ["trusted", "allow", "deny"];
    let of_listeners = LISTENERS.into_iter().flat_map(move |name| kinds.map(|kind| (name, kind)));
    of_listeners.chain(SETS.map(|name| (name, SET)))
}

/// Of a list of this kind; mostly few.
pub(super) fn networks(random: &mut Random, kind: &str) -> Networks {
    let all: &[&str] = if kind == "trusted" { &SOURCES } else { &NETWORKS };
    let most = if random.once_in(4) { all.len() } else { 3 };
    let number = random.below(most);
    (0..number).map(|_| random.one_of(all).parse().expect("a network")).collect()
}

/// What a file may have.
pub(super) fn content(random: &mut Random, kind: &str) -> Content {
    match random.below(8) {
        0 => Content::Wrong,
        1 => Content::Missing,
        2 => Content::Networks(Networks::new()),
        _ => Content::Networks(networks(random, kind)),
    }
}

/// The first configuration.
pub(super) fn first(random: &mut Random) -> Policy {
    let (files, listeners) = (Files::default(), listeners(random));
    let mut policy = Policy { listeners, ..Policy::default() };
    correct(&mut policy, &files);
    policy
}

/// Another configuration. Most are right, with the files as they are.
pub(super) fn policy(random: &mut Random, now: &Policy, files: &Files) -> Policy {
    let mut policy = now.clone();
    match random.below(3) {
        0 => {
            policy.listeners = listeners(random);
            policy.sets = sets(random);
        }
        1 if random.once_in(4) => policy.sets = sets(random),
        _ => {
            let at = random.below(policy.listeners.len());
            change(random, &mut policy.listeners[at]);
        }
    }
    if !random.once_in(20) {
        correct(&mut policy, files);
    }
    policy
}

fn sets(random: &mut Random) -> BTreeMap<&'static str, List> {
    let chosen: Vec<_> = SETS.into_iter().filter(|_| random.once_in(2)).collect();
    chosen.into_iter().map(|name| (name, list(random, SET))).collect()
}

fn list(random: &mut Random, kind: &str) -> List {
    let written = networks(random, kind);
    let file = (written.is_empty() && kind == SET || random.once_in(2)).then(Networks::new);
    List { written, file }
}

/// Some of the listeners, in any order, with some of the ports.
fn listeners(random: &mut Random) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for port in PORTS {
        let name = *random.one_of(&LISTENERS);
        if random.once_in(6) {
            continue;
        }
        match listeners.iter_mut().find(|one| one.name == name) {
            Some(there) => drop(there.ports.insert(port)),
            None => listeners.push(listener(random, name, port)),
        }
    }
    if listeners.is_empty() {
        listeners.push(listener(random, LISTENERS[0], PORTS[0]));
    }
    let first = random.below(listeners.len());
    listeners.rotate_left(first);
    listeners
}

fn listener(random: &mut Random, name: &'static str, port: u16) -> Listener {
    let mut listener = Listener {
        name,
        ports: BTreeSet::from([port]),
        trusted: list(random, "trusted"),
        allow: List::default(),
        deny: list(random, "deny"),
        untrusted: Treatment::Pass,
        denied: Treatment::Reset,
        mark: MARKS[0],
        unknown: Nobody::Accept,
        headerless: Nobody::Reset,
        versions: vec!["v1", "v2"],
        hand_off: "auto",
    };
    for _ in 0..6 {
        change(random, &mut listener);
    }
    listener
}

fn change(random: &mut Random, listener: &mut Listener) {
    match random.below(12) {
        0 => listener.trusted = list(random, "trusted"),
        1 | 2 => listener.allow = list(random, "allow"),
        3 => listener.allow = List::default(),
        4 | 5 => listener.deny = list(random, "deny"),
        6 => {
            let treatments = [Treatment::Pass, Treatment::Reset, Treatment::Drop];
            listener.untrusted = *random.one_of(&treatments);
        }
        7 => {
            let treatments = [Treatment::Pass, Treatment::Reset, Treatment::Drop];
            listener.denied = *random.one_of(&treatments);
            listener.mark = *random.one_of(&MARKS);
        }
        8 => {
            listener.unknown = *random.one_of(&[Nobody::Accept, Nobody::Reset, Nobody::Local]);
        }
        9 => listener.headerless = *random.one_of(&[Nobody::Reset, Nobody::Local]),
        10 => {
            let versions = [vec!["v1", "v2"], vec!["v1"], vec!["v2"]];
            listener.versions.clone_from(random.one_of(&versions));
        }
        _ => {
            let hand_offs = ["auto", "auto", "accept", "translate", "observe"];
            listener.hand_off = *random.one_of(&hand_offs);
        }
    }
}

/// Takes out what an agent would refuse, with the files as they are.
fn correct(policy: &mut Policy, files: &Files) {
    let of_file = |place: Place| match files.0.get(&place) {
        Some(Content::Networks(networks)) => networks.clone(),
        _ => Networks::new(),
    };
    for (place, list) in lists(policy) {
        if !matches!(files.0.get(&place), Some(Content::Networks(_))) {
            list.file = None;
        }
    }
    for listener in &mut policy.listeners {
        let name = listener.name;
        let mut all = |kind| {
            let list = listener.list(kind);
            let file = list.file.as_ref().map(|_| of_file((name, kind)));
            list.written.iter().copied().chain(file.into_iter().flatten()).collect::<Networks>()
        };
        let (trusted, allow, deny) = (all("trusted"), all("allow"), all("deny"));
        if trusted.is_empty() {
            listener.trusted.written.insert(SOURCES[0].parse().expect("a network"));
        }
        if !allow.is_disjoint(&deny) {
            listener.deny.file = None;
            listener.deny.written.retain(|network| !allow.contains(network));
        }
    }
    for list in policy.sets.values_mut().filter(|list| list.file.is_none()) {
        list.written.insert(NETWORKS[1].parse().expect("a network"));
    }
}
