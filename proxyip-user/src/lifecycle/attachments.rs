//! Attaches the kernel programs, and sees to it that they stay where they belong.
//!
//! Others change what is attached: they detach links, delete qdiscs, remove pins, interfaces and namespaces. What the
//! kernel really has is read back all the time, and mended where that is possible.

use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use proxyip_api::finding::{Finding, FindingKind};

use super::of_namespace::{Found, Gone};
use super::socket_option::OptionHook;
use super::targets::{Targets, still_attached};
use crate::bpf::in_place::{Change, InPlace};
use crate::bpf::links::Links;
use crate::bpf::pinned_maps::PinnedMaps;
use crate::bpf::programs::Loaded;
use crate::bpf::sockets::{SocketHook, named};
use crate::desired::active::Current;
use crate::desired::targets::by_namespace;
use crate::supervise::{Health, Work};
use crate::watch::guarding::Guarding;

/// How often to look.
const PERIOD: Duration = Duration::from_secs(1);

/// Asks for a look at once. Gets what is not guarded after it.
pub(super) type Request = SyncSender<Vec<Finding>>;

/// What belongs where.
pub(super) struct Attachments {
    pub(super) links: Links,
    pub(super) sockets: Vec<(SocketHook, Loaded)>,
    pub(super) option: OptionHook,
    /// The root of the cgroup hierarchy.
    pub(super) cgroup: File,
    pub(super) targets: Targets,
    pub(super) current: Current,
    pub(super) guarding: Guarding,
}

impl Attachments {
    /// Attaches to the root of the cgroup hierarchy.
    pub(super) fn attach_to_sockets(&mut self) -> Result<()> {
        let active = Arc::clone(&self.current.borrow());
        let Self { option, cgroup, links, .. } = self;
        let option = option.follow(&active.config.api, cgroup, links)?;
        all_attached(self.ensure_sockets().into_iter().chain(option))
    }

    /// Attaches to the interfaces.
    pub(super) fn attach_to_interfaces(&mut self) -> Result<()> {
        all_attached(self.targets.ensure(&mut self.links))
    }

    /// Looks after everything on a thread of its own, for the life of the process.
    pub(super) fn spawn(
        mut self,
        maps: PinnedMaps,
        requests: Receiver<Request>,
        health: &Health,
    ) -> Result<()> {
        let purpose = "looking at what is attached".into();
        // A round waits by itself.
        let work = Work { thread: "attachments", purpose, period: Duration::ZERO };
        health.spawn(work, move || {
            let request = match requests.recv_timeout(PERIOD) {
                Ok(request) => Some(request),
                Err(RecvTimeoutError::Timeout) => None,
                // The agent ends, or its reloads have.
                Err(RecvTimeoutError::Disconnected) => {
                    thread::sleep(PERIOD);
                    None
                }
            };
            if request.is_some() {
                self.targets.retry();
            }
            self.look(&maps);
            if let Some(request) = request {
                // Whoever asked may have gone meanwhile.
                request.send(self.guarding.missing()).ok();
            }
            Ok(())
        })
    }

    /// Mends what has changed, follows the configuration in force, and reports it.
    fn look(&mut self, maps: &PinnedMaps) {
        let mut remarks = Vec::new();
        // First: the programs of a namespace that comes get the maps by their pins.
        if self.links.is_hidden() {
            remarks.push(Finding::new(FindingKind::PinsHidden, self.links.hidden_sentence()));
        } else {
            match maps.ensure() {
                Ok(pinned) => pinned.iter().for_each(|map| self.say(map, Change::Pinned)),
                Err(error) => {
                    remarks.push(Finding::new(FindingKind::PinsLost, format!("{error:#}")));
                }
            }
        }
        let active = Arc::clone(&self.current.borrow());
        let wanted = by_namespace(&active.config.interfaces);
        let mut found = self.ensure_sockets();
        let Self { targets, links, option, cgroup, .. } = self;
        match option.follow(&active.config.api, cgroup, links) {
            Ok(option) => found.extend(option),
            Err(error) => remarks.push(still_attached(&error)),
        }
        remarks.extend(targets.leave_vanished(links));
        // First: the successor of a namespace needs pins of the same names.
        targets.follow_sets();
        let mut missing = targets.serve(&wanted, links);
        found.extend(targets.ensure(links));
        remarks.extend(targets.leave_unwanted(&wanted, links));
        targets.follow_sets();
        remarks.extend(targets.unpinned());
        for (what, result) in found {
            match result {
                Ok(InPlace { change, before }) => {
                    self.say(&what, change);
                    remarks.extend(before.into_iter().map(|other| came_before(&what, other)));
                }
                Err(error) => missing.push(not_in_place(&error)),
            }
        }
        self.guarding.set(missing, remarks);
    }

    fn say(&self, what: &str, change: Change) {
        match change {
            Change::None => return,
            Change::Attached => tracing::error!(
                "{what} was not attached any more: it is attached again. Connections that came meanwhile kept their \
                 headers"
            ),
            Change::Pinned => tracing::error!("the pin of {what} was gone: it is pinned again"),
        }
        self.guarding.count_mended();
    }

    fn ensure_sockets(&mut self) -> Vec<Found> {
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

fn all_attached(found: impl IntoIterator<Item = Found>) -> Result<()> {
    found.into_iter().try_for_each(|(what, found)| {
        found.map(drop).with_context(|| format!("{what} cannot be attached"))
    })
}

fn not_in_place(error: &anyhow::Error) -> Finding {
    let is_gone = error.is::<Gone>();
    let kind = if is_gone { FindingKind::InterfaceGone } else { FindingKind::NotAttached };
    Finding::new(kind, format!("{error:#}"))
}

fn came_before(what: &str, other: u32) -> Finding {
    let sentence = format!(
        "{} runs before {what}: connections that it lets pass itself are not guarded. Let its owner attach it behind, or \
         restart the agent, which comes first again",
        named(other)
    );
    Finding::new(FindingKind::OtherProgramFirst, sentence)
}
