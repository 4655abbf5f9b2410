//! Which namespaces are served: compares what the configuration wants with what is there, and serves or leaves.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxyip_api::finding::{Finding, FindingKind};

use super::instances::{Factory, Prepared};
use super::of_namespace::{Found, OfNamespace};
use crate::bpf::links::Links;
use crate::bpf::strays;
use crate::config::Netns;
use crate::host::served::{Entrance, Served};
use crate::reconcile::control::Control;
use crate::supervise::Running;
use crate::tables::translations::TranslationMap;

/// How long a namespace rests after a failure. Each further failure doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest that it becomes.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// The interfaces of each namespace, as the configuration wants them.
pub(super) type Wanted<'a> = [(&'a Netns, Vec<&'a str>)];

/// The namespaces that are served, and those that should be.
pub(super) struct Targets {
    pub(super) factory: Factory,
    pub(super) control: Control,
    pub(super) served: Served,
    pub(super) translations: TranslationMap,
    pub(super) namespaces: Vec<OfNamespace>,
    /// Those that follow namespaces which have been left, until they have ended.
    pub(super) leaving: Vec<(u64, Running)>,
    pub(super) failed: HashMap<Netns, Failed>,
    /// The programs of sets are pinned as the namespaces need them.
    pub(super) sets: SetPins,
}

/// Whether what is pinned follows from the list of namespaces.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum SetPins {
    #[default]
    Current,
    /// It has not been tried yet.
    Due,
    /// It has failed, for this reason.
    Stale(String),
}

/// Why a namespace is not served.
pub(super) struct Failed {
    error: String,
    wait: Duration,
    next: Instant,
}

impl Targets {
    /// Serves a namespace from now on, with these interfaces. [`Targets::ensure`] attaches to them.
    pub(super) fn take(&mut self, prepared: Prepared, names: &[&str]) -> Result<()> {
        let mut namespace = self.factory.follow(prepared)?;
        namespace.add(names);
        self.namespaces.push(namespace);
        Ok(())
    }

    /// Tries at once what has failed.
    pub(super) fn retry(&mut self) {
        self.failed.clear();
    }

    /// Leaves namespaces whose files are gone or stand for other ones. Returns what goes wrong.
    pub(super) fn leave_vanished(&mut self, links: &mut Links) -> Vec<Finding> {
        self.leaving.retain(|(_, follower)| !follower.has_ended());
        self.leave_where(|one| !one.entrance.is_there(), links)
    }

    /// Serves what is wanted and not served yet. Returns what cannot be served.
    pub(super) fn serve(&mut self, wanted: &Wanted, links: &Links) -> Vec<Finding> {
        self.failed.retain(|netns, _| wanted.iter().any(|(wanted, _)| *wanted == netns));
        let mut missing = Vec::new();
        for (netns, names) in wanted {
            if let Some(there) =
                self.namespaces.iter_mut().find(|one| one.entrance.netns() == *netns)
            {
                there.add(names);
            } else if let Some(sentence) = self.try_to_serve(netns, names, links) {
                missing.push(Finding::new(FindingKind::NamespaceLost, sentence));
            }
        }
        missing
    }

    /// Sees to it that every interface has its programs.
    pub(super) fn ensure(&mut self, links: &mut Links) -> Vec<Found> {
        let ensure = |one: &mut OfNamespace| match one.ensure(links) {
            Ok(found) => found,
            Err(error) => vec![(one.entrance.netns().to_string(), Err(error))],
        };
        self.namespaces.iter_mut().flat_map(ensure).collect()
    }

    /// Leaves what is served and not wanted any more. Returns what goes wrong.
    pub(super) fn leave_unwanted(&mut self, wanted: &Wanted, links: &mut Links) -> Vec<Finding> {
        let names = |one: &OfNamespace| {
            wanted.iter().find(|(netns, _)| *netns == one.entrance.netns()).map(|(_, names)| names)
        };
        let leaves = |one: &&OfNamespace| {
            let wanted = |name: &str| names(one).is_some_and(|names| names.contains(&name));
            one.interfaces.iter().any(|interface| !wanted(&interface.name))
        };
        for one in self.namespaces.iter().filter(leaves) {
            self.warn_of_translated(one.entrance.cookie());
        }
        let mut wrong = self.leave_where(|one| names(one).is_none(), links);
        for one in &mut self.namespaces {
            if let Some(names) = names(one) {
                let released = one.release_all_but(names, links);
                wrong.extend(released.err().map(|error| still_attached(&error)));
            }
        }
        wrong
    }

    /// Pins the programs of sets as the namespaces need them, if some have been left or it has failed before.
    pub(super) fn follow_sets(&mut self) {
        if self.sets != SetPins::Current {
            self.sets = match self.control.follow_namespaces() {
                Ok(()) => SetPins::Current,
                Err(error) => SetPins::Stale(format!("{error:#}")),
            };
        }
    }

    /// Why they are not pinned so, until they are.
    pub(super) fn unpinned(&self) -> Option<Finding> {
        match &self.sets {
            SetPins::Stale(error) => Some(Finding::new(FindingKind::SetsUnpinned, error.clone())),
            SetPins::Current | SetPins::Due => None,
        }
    }

    /// A namespace that cannot be left is tried again at the next look.
    fn leave_where(
        &mut self,
        leaves: impl Fn(&OfNamespace) -> bool,
        links: &mut Links,
    ) -> Vec<Finding> {
        let mut wrong = Vec::new();
        let (leaving, staying): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.namespaces).into_iter().partition(leaves);
        self.namespaces = staying;
        for mut one in leaving {
            match one.release_all_but(&[], links) {
                Ok(()) => self.forget(one),
                Err(error) => {
                    wrong.push(still_attached(&error));
                    self.namespaces.push(one);
                }
            }
        }
        wrong
    }

    /// Nothing is attached there any more.
    fn forget(&mut self, OfNamespace { entrance, follower, relay, .. }: OfNamespace) {
        drop(relay);
        tracing::info!("left {}", entrance.netns());
        self.served.remove(entrance.cookie());
        self.sets = SetPins::Due;
        follower.stop();
        self.leaving.push((entrance.cookie(), follower));
    }

    /// Returns why it cannot be served, if it cannot.
    fn try_to_serve(&mut self, netns: &Netns, names: &[&str], links: &Links) -> Option<String> {
        if let Netns::Path(path) = netns
            && !path.exists()
        {
            self.failed.remove(netns);
            return Some(format!(
                "{netns} is gone: the agent serves it as soon as it is there again"
            ));
        }
        let now = Instant::now();
        if let Some(failed) = self.failed.get(netns).filter(|failed| now < failed.next) {
            return Some(failed.error.clone());
        }
        let Err(error) = self.begin(netns, names, links) else {
            self.failed.remove(netns);
            return None;
        };
        let error = format!("{netns} is not served: {error:#}");
        let before = self.failed.get(netns).map(|failed| failed.wait);
        let wait = before.map_or(FIRST_WAIT, |wait| (wait * 2).min(LONGEST_WAIT));
        self.failed.insert(
            netns.clone(),
            Failed { error: error.clone(), wait, next: Instant::now() + wait },
        );
        Some(error)
    }

    fn begin(&mut self, netns: &Netns, names: &[&str], links: &Links) -> Result<()> {
        // The programs of one namespace must not have other maps than those of the rest.
        ensure!(!links.is_hidden(), "{}", links.hidden_sentence());
        let entrance = Entrance::find(netns, &self.factory.capability)?;
        let cookie = entrance.cookie();
        let served = self.served.now();
        if let Some(other) = served.iter().find(|one| one.entrance.cookie() == cookie) {
            let other = other.entrance.netns();
            anyhow::bail!("it is the one that is served as {other}: name it once");
        }
        entrance.run(|| strays::check(&self.factory.pin_path, names))?;
        self.wait_until_left(cookie);
        let leaving = self.leaving.iter().map(|(cookie, _)| *cookie);
        let needed = served.iter().map(|one| one.entrance.cookie()).chain(leaving).chain([cookie]);
        let prepared = self.factory.prepare(&entrance, &needed.collect::<Vec<_>>())?;
        self.served.add(prepared.member.clone());
        let taken = self
            .control
            .follow_namespaces()
            .context("the programs of sets cannot be pinned")
            .and_then(|()| self.take(prepared, names));
        if taken.is_err() {
            self.served.remove(cookie);
        }
        taken
    }

    /// Waits for the one who followed the namespace until now, and would free its entry of `NAMESPACES`.
    fn wait_until_left(&mut self, cookie: u64) {
        if let Some(at) = self.leaving.iter().position(|(there, _)| *there == cookie) {
            self.leaving.swap_remove(at).1.join();
        }
    }

    fn warn_of_translated(&self, cookie: u64) {
        let living = self.translations.living().filter_map(Result::ok);
        let count = living.filter(|key| key.namespace == cookie).count();
        if count > 0 {
            tracing::warn!(
                "translated connections: {count}; those on interfaces that are detached now will hang (`proxyip listener \
                 drain` before the reload lets them end)"
            );
        }
    }
}

pub(super) fn still_attached(error: &anyhow::Error) -> Finding {
    Finding::new(FindingKind::StillAttached, format!("{error:#}"))
}
