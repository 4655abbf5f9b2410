//! The files of networks: what is in them, and what an agent takes of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use ipnet::IpNet;
use proxyip_tests::Scratch;

use super::policy::{List, Listener, Networks, Policy};

/// The list of a listener or a set: its name, and its kind.
pub(super) type Place = (&'static str, &'static str);

/// The kind of the only list of a set.
pub(super) const SET: &str = "set";

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Networks(Networks),
    /// With a line that is no network.
    Wrong,
    /// There is no file.
    Missing,
}

/// How a file gets another content.
#[derive(Clone, Copy, Debug)]
pub(super) enum By {
    Rename,
    /// It is written in place, from an empty file on.
    Writing,
}

/// All files.
#[derive(Clone, Debug, Default)]
pub(super) struct Files(pub(super) BTreeMap<Place, Content>);

pub(super) fn path(scratch: &Scratch, (name, kind): Place) -> PathBuf {
    scratch.path(&format!("{name}-{kind}"))
}

impl Files {
    pub(super) fn write(&mut self, scratch: &Scratch, place: Place, (content, by): (Content, By)) {
        let path = path(scratch, place);
        let text = match &content {
            Content::Networks(networks) => {
                networks.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
            }
            Content::Wrong => "10.0.0.0/8\nno network\n".to_owned(),
            Content::Missing => {
                let _ = fs::remove_file(path);
                self.0.insert(place, content);
                return;
            }
        };
        match by {
            By::Rename => {
                let new = path.with_extension("new");
                fs::write(&new, text).expect("a file");
                fs::rename(new, path).expect("a file");
            }
            By::Writing => fs::write(path, text).expect("a file"),
        }
        self.0.insert(place, content);
    }

    fn networks(&self, place: Place) -> Option<&Networks> {
        match self.0.get(&place) {
            Some(Content::Networks(networks)) => Some(networks),
            _ => None,
        }
    }

    /// A configuration with what is in its files; `None` if an agent must refuse it.
    pub(super) fn load(&self, mut policy: Policy) -> Option<Policy> {
        for (place, list) in lists(&mut policy) {
            if list.file.is_some() {
                list.file = Some(self.networks(place)?.clone());
            }
        }
        let right = |one: &Listener| {
            !one.trusted.all().is_empty() && one.allow.all().is_disjoint(&one.deny.all())
        };
        policy.listeners.iter().all(right).then_some(policy)
    }

    /// The files that an agent does not take as they are: what was in them stays in force.
    pub(super) fn not_taken(&self, in_force: &Policy) -> Vec<Place> {
        let mut policy = in_force.clone();
        let with_files = lists(&mut policy);
        let not_taken = with_files.filter(|(place, list)| {
            list.file.as_ref().is_some_and(|there| self.networks(*place) != Some(there))
        });
        not_taken.map(|(place, _)| place).collect()
    }

    /// What is in force when an agent has looked at its files.
    pub(super) fn looked_at(&self, before: &Policy) -> Policy {
        let mut policy = before.clone();
        for (place, list) in lists(&mut policy) {
            if let (Some(there), Some(now)) = (&mut list.file, self.networks(place)) {
                there.clone_from(now);
            }
        }
        // A file that is right, but not beside the others, goes back.
        while let Some((place, file)) = contradicting(before, &policy) {
            let mut lists = lists(&mut policy);
            lists.find(|(one, _)| *one == place).expect("it was there").1.file = file;
        }
        policy
    }
}

/// A file that has to stay as it was, and what was in it.
fn contradicting(before: &Policy, now: &Policy) -> Option<(Place, Option<Networks>)> {
    let mut each_other = None;
    for (old, new) in before.listeners.iter().zip(&now.listeners) {
        if new.trusted.all().is_empty() {
            return Some(((new.name, "trusted"), old.trusted.file.clone()));
        }
        let allow = ((new.name, "allow"), old.allow.file.clone());
        for network in new.allow.all().intersection(&new.deny.all()) {
            let added = |old: &List, new: &List| {
                !old.all().contains::<IpNet>(network)
                    && new.file.as_ref().is_some_and(|file| file.contains(network))
            };
            match (added(&old.allow, &new.allow), added(&old.deny, &new.deny)) {
                (true, true) => each_other = Some(allow.clone()),
                (true, false) => return Some(allow),
                (false, _) => return Some(((new.name, "deny"), old.deny.file.clone())),
            }
        }
    }
    each_other
}

/// All lists that may have a file.
pub(super) fn lists(policy: &mut Policy) -> impl Iterator<Item = (Place, &mut List)> {
    let of_sets = policy.sets.iter_mut().map(|(name, list)| ((*name, SET), list));
    let of_listeners = policy.listeners.iter_mut().flat_map(|one| {
        let name = one.name;
        let lists = [&mut one.trusted, &mut one.allow, &mut one.deny];
        ["trusted", "allow", "deny"].into_iter().map(move |kind| (name, kind)).zip(lists)
    });
    of_sets.chain(of_listeners)
}
