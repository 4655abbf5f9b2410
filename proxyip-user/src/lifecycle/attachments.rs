//! Attaches the kernel programs, and sees to it that they stay where they belong.
//!
//! Others change what is attached: they detach links, delete qdiscs, remove pins, interfaces and namespaces. What the
//! kernel really has is read back all the time, and mended where that is possible.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use proxyip_api::finding::{Finding, FindingKind};

use super::directories::Directories;
use super::leaving::still_attached;
use super::looked::{Found, Looked};
use super::patterns;
use super::remaining::Others;
use super::requests::{Asked, Request};
use super::shared::Shared;
use super::socket_option::OptionHook;
use super::targets::Targets;
use crate::bpf::in_place::Change;
use crate::bpf::links::Links;
use crate::bpf::pinned_maps::PinnedMaps;
use crate::bpf::programs::Loaded;
use crate::bpf::sockets::SocketHook;
use crate::config::Config;
use crate::desired::active::Current;
use crate::desired::targets as desired;
use crate::host::matching::{files, is_incomplete};
use crate::host::served::rest;
use crate::mailbox::Mailbox;
use crate::supervise::{Health, Work};
use crate::watch::guarding::Guarding;

/// How often to look at what is not announced.
const PERIOD: Duration = Duration::from_secs(1);

/// How long it may take to mount a namespace on its file.
const MOUNTED: Duration = Duration::from_secs(3);

/// What belongs where.
pub(super) struct Attachments {
    pub(super) links: Links,
    pub(super) maps: PinnedMaps,
    pub(super) sockets: Vec<(SocketHook, Loaded)>,
    pub(super) shared: Shared,
    pub(super) option: OptionHook,
    /// The root of the cgroup hierarchy.
    pub(super) cgroup: File,
    pub(super) targets: Targets,
    pub(super) directories: Directories,
    pub(super) current: Current,
    pub(super) guarding: Guarding,
    /// What the last look beside the interfaces found, and when it was.
    pub(super) looked: Looked,
    pub(super) looked_at: Option<Instant>,
    /// What came of the last list of what the configuration wants, and when that was made.
    pub(super) listed: Looked,
    pub(super) listed_at: Option<Instant>,
    /// Since when files match on which no namespace is mounted. Mounting does not change the directory.
    pub(super) incomplete_since: Option<Instant>,
    /// At the last list, namespaces may have been there that the agent could not see or serve.
    pub(super) is_blind: bool,
    /// Programs of an agent before this one have stayed though they are not known to be wanted.
    pub(super) others: Others,
}

impl Attachments {
    /// Looks at everything once, which serves what patterns find. What goes wrong is not guarded, and is tried again.
    pub(super) fn look_at_all(&mut self) {
        self.targets.retry();
        (self.looked_at, self.listed_at) = (None, None);
        while self.look(&BTreeSet::new()) {}
    }

    /// Looks after everything on a thread of its own, for the life of the process.
    pub(super) fn spawn(mut self, requests: Mailbox<Request>, health: &Health) -> Result<()> {
        let purpose = "looking at what is attached".into();
        // A round waits by itself.
        let work = Work { thread: "attachments", purpose, period: Duration::ZERO };
        health.spawn(work, move || {
            let waited = requests.wait(self.directories.notices(), self.rest());
            waited.context("changes cannot be waited for")?;
            // A look may have failed on its way back.
            self.targets.factory.home.enter()?;
            self.round(requests.take().into_iter().collect());
            Ok(())
        })
    }

    /// How long not to look, if nothing is announced.
    fn rest(&self) -> Duration {
        let since = self.looked_at.map_or(PERIOD, |at| at.elapsed());
        let rest = self.directories.rest(PERIOD.saturating_sub(since));
        // Namespaces wait to be served.
        if self.listed_at.is_none() { Duration::ZERO } else { rest }
    }

    fn round(&mut self, asked: Asked) {
        if asked.answers.is_empty() {
            self.look(&asked.changed);
            return;
        }
        self.look_at_all();
        for answer in asked.answers {
            // Whoever asked may have gone meanwhile.
            answer.send(self.guarding.after_reload()).ok();
        }
    }

    /// Mends what has changed, follows the configuration in force, and reports it. Looks at what is due, and at the
    /// namespaces with these cookies. Returns whether namespaces wait to be served.
    fn look(&mut self, changed: &BTreeSet<u64>) -> bool {
        let active = Arc::clone(&self.current.borrow());
        let is_due = self.looked_at.is_none_or(|at| at.elapsed() >= PERIOD);
        let mut is_waiting = false;
        if self.directories.have_changed(&active.config.interfaces) {
            self.listed_at = None;
        }
        if self.listed_at.is_none() || is_due {
            is_waiting = self.look_around(&active.config, changed);
        } else if changed.is_empty() {
            return false;
        } else {
            self.targets.look(changed, &mut self.links);
        }
        self.report(&active.config);
        if is_waiting {
            self.listed_at = None;
        }
        is_waiting
    }

    fn look_around(&mut self, config: &Config, changed: &BTreeSet<u64>) -> bool {
        // First: the programs of a namespace that comes get the maps by their pins.
        let mut looked = self.ensure_maps();
        let mut sockets = self.ensure_sockets();
        let Self { links, option, cgroup, .. } = self;
        match option.follow(&config.api, cgroup, links) {
            Ok(option) => sockets.extend(option),
            Err(error) => looked.remarks.push(still_attached(&error)),
        }
        let sockets: Looked = sockets.into_iter().collect();
        let is_waiting = if self.must_list() {
            self.list(config, changed)
        } else {
            self.targets.look(changed, &mut self.links);
            false
        };
        self.targets.follow_sets();
        looked.remarks.extend(self.targets.unpinned());
        looked.note(&sockets);
        looked.note(&self.listed);
        looked.changes.extend(sockets.changes);
        self.targets.factory.loader.rest();
        (self.looked, self.looked_at) = (looked, Some(Instant::now()));
        is_waiting
    }

    /// Whether it is time to compare what the configuration wants with what is there: something has come or gone, something
    /// that is wanted is missing, or the last time is long ago.
    fn must_list(&self) -> bool {
        let rest = rest(self.targets.namespaces.len());
        let is_well = self.listed.missing.is_empty() && self.listed.remarks.is_empty();
        let is_waiting = self.incomplete_since.is_some() || self.targets.vanished;
        !is_well || is_waiting || self.listed_at.is_none_or(|at| at.elapsed() >= rest)
    }

    /// Serves what is wanted, and leaves the rest. Returns whether namespaces wait to be served.
    fn list(&mut self, config: &Config, changed: &BTreeSet<u64>) -> bool {
        let Self { targets, links, .. } = self;
        targets.vanished = false;
        let is_incomplete = config.interfaces.iter().any(|one| is_incomplete(&one.netns));
        let since = self.incomplete_since.unwrap_or_else(Instant::now);
        self.incomplete_since = is_incomplete.then_some(since);
        let mut remarks = targets.leave_gone(links);
        let hidden = targets.hidden();
        // Before the files are listed and after it: a mount may come or go in between.
        self.is_blind = patterns::may_miss(&config.interfaces);
        // What has not gone is wanted, whatever is listed now.
        let wanted = desired::targets(&config.interfaces, |pattern| {
            let all = [files(pattern), targets.files(pattern)].concat();
            all.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
        });
        self.is_blind |= patterns::may_miss(&config.interfaces);
        // First: the successor of a namespace needs pins of the same names.
        targets.follow_sets();
        let (mut listed, is_waiting) = targets.serve(&wanted, links);
        targets.look(changed, links);
        remarks.extend(targets.leave_unwanted(&wanted, links));
        listed.remarks.append(&mut remarks);
        targets.vanished |= hidden.is_some();
        listed.missing.extend(hidden);
        self.is_blind |= !listed.missing.is_empty();
        (self.listed, self.listed_at) = (listed, Some(Instant::now()));
        let others = self.follow_others();
        self.listed.remarks.extend(others);
        is_waiting
    }

    fn ensure_maps(&self) -> Looked {
        let mut looked = Looked::default();
        if self.links.is_hidden() {
            let sentence = self.links.hidden_sentence();
            looked.remarks.push(Finding::new(FindingKind::PinsHidden, sentence));
            return looked;
        }
        let (mended, wrong) = self.maps.ensure();
        looked.changes.extend(mended);
        let lost = |error| Finding::new(FindingKind::PinsLost, format!("{error:#}"));
        looked.remarks.extend(wrong.into_iter().map(lost));
        looked
    }

    /// Says what was found, now and before.
    fn report(&mut self, config: &Config) {
        let mut all = Looked::default();
        let namespaces = self.targets.namespaces.iter_mut().map(|one| &mut one.looked);
        let mut changes = Vec::new();
        for looked in std::iter::once(&mut self.looked).chain(namespaces) {
            changes.append(&mut looked.changes);
            all.note(looked);
        }
        for (what, change) in &changes {
            self.say(what, *change);
        }
        let namespaces = &self.targets.namespaces;
        all.remarks.extend(patterns::unmatched(&config.interfaces, namespaces));
        if self.incomplete_since.is_some_and(|since| since.elapsed() >= MOUNTED) {
            all.remarks.extend(patterns::unmounted(&config.interfaces, namespaces));
        }
        self.guarding.set_served(patterns::served(namespaces));
        self.guarding.set(all.missing, all.remarks);
    }

    fn say(&self, what: &str, change: Change) {
        match change {
            Change::None => return,
            Change::Attached => tracing::error!(
                "{what} was not attached any more: it is attached again. Connections that came meanwhile kept their \
                 headers"
            ),
            Change::Pinned => tracing::error!("the pin of {what} was gone: it is pinned again"),
            Change::Exchanged => tracing::error!(
                "the pin of {what} stood for another one, which the agent does not use: it is pinned again"
            ),
        }
        self.guarding.count_mended();
    }

    pub(super) fn ensure_sockets(&mut self) -> Vec<Found> {
        let Self { links, sockets, cgroup, .. } = self;
        let ensure = |(hook, program): &(SocketHook, Loaded)| {
            let found =
                hook.place(cgroup).and_then(|place| links.ensure(hook.pin, program, &place));
            let what = format!("the program at {}", hook.label);
            let found = found.with_context(|| format!("{what} is not attached"));
            (what, found)
        };
        sockets.iter().map(ensure).collect()
    }
}
