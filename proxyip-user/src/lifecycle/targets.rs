//! Which namespaces are served: compares what the configuration wants with what is there, and serves or leaves.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxyip_api::finding::{Finding, FindingKind};

use super::doors::Doors;
use super::failed::{Failed, Twice, is_there};
use super::instances::{Factory, Prepared};
use super::looked::{Found, Looked};
use super::of_namespace::OfNamespace;
use super::turns::chosen;
use crate::bpf::links::Links;
use crate::bpf::strays;
use crate::config::Netns;
use crate::desired::targets::Target;
use crate::host::entrance::Entrance;
use crate::host::served::Served;
use crate::reconcile::control::Control;
use crate::tables::translations::TranslationMap;

/// How long namespaces that come together may keep the others waiting.
const TURN: Duration = Duration::from_millis(300);

/// The namespaces that are served, and those that should be.
pub(super) struct Targets {
    pub(super) factory: Factory,
    pub(super) doors: Doors,
    pub(super) control: Control,
    pub(super) served: Served,
    pub(super) translations: TranslationMap,
    pub(super) namespaces: Vec<OfNamespace>,
    pub(super) failed: HashMap<Netns, Failed>,
    /// One has gone, and has not been left yet, or is hidden.
    pub(super) vanished: bool,
    /// The cookies of namespaces that are not served, and whose programs read their entries of `NAMESPACES`.
    pub(super) needed: Vec<u64>,
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

impl Targets {
    /// Serves a namespace from now on. [`Targets::ensure`] attaches to its interfaces.
    pub(super) fn take(&mut self, prepared: Prepared, target: &Target) -> Result<()> {
        let mut namespace = self.factory.follow(prepared)?;
        namespace.add(target);
        self.namespaces.push(namespace);
        Ok(())
    }

    /// Tries at once what has failed, and looks at everything.
    pub(super) fn retry(&mut self) {
        self.failed.clear();
        for one in &mut self.namespaces {
            one.looked_at = None;
            one.interfaces.values_mut().for_each(|interface| interface.door.retry());
        }
    }

    /// Serves what is wanted and not served yet. Returns what cannot be served, and whether some have to wait for their
    /// turn.
    pub(super) fn serve(&mut self, wanted: &[Target], links: &Links) -> (Looked, bool) {
        let by_netns = by_netns(wanted);
        self.failed.retain(|netns, _| by_netns.contains_key(netns));
        let mut looked = Looked::default();
        let mut new = Vec::new();
        let served = self.namespaces.iter().enumerate();
        let served: HashMap<_, _> = served.map(|(at, one)| (one.netns().clone(), at)).collect();
        for target in wanted {
            if let Some(at) = served.get(&target.netns) {
                self.namespaces[*at].add(target);
            } else if let Some(entrance) = self.entrance(target, &mut looked) {
                new.push((target, entrance));
            }
        }
        let (first, count) = (Instant::now(), new.len());
        let coming: Vec<_> = new.iter().map(|(_, entrance)| entrance.cookie()).collect();
        for (at, (target, entrance)) in new.into_iter().enumerate() {
            if at > 0 && first.elapsed() > TURN {
                looked.missing.push(Finding::new(
                    FindingKind::NamespaceWaits,
                    format!(
                        "network namespaces that have come and wait to be served: {}",
                        count - at
                    ),
                ));
                return (looked, true);
            }
            let begun = self.begin(target, &entrance, (&coming, links));
            self.note(target, begun, &mut looked);
        }
        (looked, false)
    }

    /// The way into a namespace that is not served; `None` if it is not there or has failed.
    fn entrance(&mut self, target: &Target, looked: &mut Looked) -> Option<Entrance> {
        let Target { netns, is_named, .. } = target;
        if !is_there(netns) {
            self.failed.remove(netns);
            if *is_named {
                let sentence =
                    format!("{netns} is gone: the agent serves it as soon as it is there again");
                looked.missing.push(Finding::new(FindingKind::NamespaceLost, sentence));
            }
            return None;
        }
        let now = Instant::now();
        if let Some(failed) = self.failed.get(netns).filter(|failed| failed.rests(netns, now)) {
            looked.note(&failed.looked());
            return None;
        }
        match Entrance::find(netns, &self.factory.capability) {
            Ok(entrance) => Some(entrance),
            Err(error) => {
                self.note(target, Err(error), looked);
                None
            }
        }
    }

    /// Notes whether a namespace is served now, and when it is tried again.
    fn note(
        &mut self,
        Target { netns, is_named, .. }: &Target,
        begun: Result<()>,
        looked: &mut Looked,
    ) {
        let error = match begun {
            // What a pattern found may have gone meanwhile.
            Err(error) if *is_named || is_there(netns) => error,
            _ => {
                self.failed.remove(netns);
                return;
            }
        };
        // What a pattern finds twice is served, by its other name.
        let is_twice = !is_named && error.is::<Twice>();
        let error = format!("{netns} is not served: {error:#}");
        let failed = Failed::again(netns, self.failed.get(netns), (error, is_twice));
        looked.note(&failed.looked());
        self.failed.insert(netns.clone(), failed);
    }

    /// Looks at the namespaces that have changed, and at those whose turn it is.
    pub(super) fn look(&mut self, changed: &BTreeSet<u64>, links: &mut Links) {
        let pin_path = &self.factory.pin_path;
        let looked_at = self
            .namespaces
            .iter()
            .map(|one| one.looked_at.filter(|_| !changed.contains(&one.entrance.cookie())));
        for at in chosen(&looked_at.collect::<Vec<_>>(), Instant::now()) {
            let one = &mut self.namespaces[at];
            one.look(pin_path, links);
            self.doors.follow(one, links);
            self.vanished |= one.has_vanished();
        }
    }

    /// The places of all namespaces that are served.
    pub(super) fn all(&self) -> Range<usize> {
        0..self.namespaces.len()
    }

    /// Sees to it that every interface of the namespaces at these places has its programs.
    pub(super) fn ensure(&mut self, places: Range<usize>, links: &mut Links) -> Vec<Found> {
        let pin_path = &self.factory.pin_path;
        self.namespaces[places].iter_mut().flat_map(|one| one.ensure(pin_path, links)).collect()
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

    /// `coming` are the cookies of all that are about to be served.
    fn begin(
        &mut self,
        target: &Target,
        entrance: &Entrance,
        (coming, links): (&[u64], &Links),
    ) -> Result<()> {
        // The programs of one namespace must not have other maps than those of the rest.
        ensure!(!links.is_hidden(), "{}", links.hidden_sentence());
        let cookie = entrance.cookie();
        let served = self.served.now();
        if let Some(other) = served.iter().find(|one| one.entrance.cookie() == cookie) {
            ensure!(
                other.entrance.leads_where(entrance),
                "on this kernel one network namespace can be served (from Linux 5.15 on there may be more), and that is {}",
                other.entrance.netns()
            );
            return Err(Twice(other.entrance.netns().clone()).into());
        }
        entrance.run(|| strays::check(&self.factory.pin_path, &target.named))?;
        let needed = served.iter().map(|one| one.entrance.cookie());
        let needed: Vec<_> = needed.chain(self.needed.iter().chain(coming).copied()).collect();
        let prepared = self.factory.prepare(entrance, &needed)?;
        self.served.add(prepared.member.clone());
        let taken = self
            .control
            .follow_namespaces()
            .context("the programs of sets cannot be pinned")
            .and_then(|()| self.take(prepared, target));
        if taken.is_err() {
            self.served.remove(cookie);
            // Its programs of sets look for it where it will not be.
            self.sets = SetPins::Due;
        }
        taken
    }
}

pub(super) fn by_netns<'a>(targets: &'a [Target<'a>]) -> HashMap<&'a Netns, &'a Target<'a>> {
    targets.iter().map(|target| (&target.netns, target)).collect()
}
