//! Which namespaces are left, and which are kept though the agent cannot see them.

use std::path::{Path, PathBuf};

use proxyip_api::finding::{Finding, FindingKind};

use super::of_namespace::{OfNamespace, Presence, keeps};
use super::targets::{SetPins, Targets, by_netns};
use crate::bpf::links::Links;
use crate::config::FilePattern;
use crate::desired::targets::Target;
use crate::host::namespace::Living;

impl Targets {
    /// Leaves namespaces whose files are gone or stand for other ones. Those that live on, though their files say nothing of them
    /// any more, stay as they are. Returns what goes wrong.
    pub(super) fn leave_gone(&mut self, links: &mut Links) -> Vec<Finding> {
        let living = Living::default();
        self.namespaces.iter_mut().for_each(|one| one.find_out(links, &living));
        self.leave_where(|one| one.presence == Presence::Gone, links)
    }

    /// Which ones live on so; `None` if there is none.
    pub(super) fn hidden(&self) -> Option<Finding> {
        let hidden: Vec<_> = self.namespaces.iter().filter(|one| one.is_hidden()).collect();
        let sentence = format!(
            "network namespaces whose files cannot be seen any more keep their programs, and are followed no longer: {}, the \
             first is {}. In a container, mount the directory of the host with propagation (mountPropagation: HostToContainer)",
            hidden.len(),
            hidden.first()?.netns()
        );
        Some(Finding::new(FindingKind::NamespaceLost, sentence))
    }

    /// Those files of namespaces that are served that match.
    pub(super) fn files(&self, pattern: &FilePattern) -> Vec<PathBuf> {
        let served = self.namespaces.iter().filter_map(|one| one.netns().path());
        served.filter(|path| pattern.contains(path)).map(Path::to_owned).collect()
    }

    /// Leaves what is served and not wanted any more. Returns what goes wrong.
    pub(super) fn leave_unwanted(&mut self, wanted: &[Target], links: &mut Links) -> Vec<Finding> {
        let by_netns = by_netns(wanted);
        let target = |one: &OfNamespace| by_netns.get(one.netns()).copied();
        let leaves = |one: &&OfNamespace| {
            let kept = |interface| target(one).is_some_and(|target| keeps(target, interface));
            !one.interfaces.values().all(kept)
        };
        for one in self.namespaces.iter().filter(leaves) {
            self.warn_of_translated(one.entrance.cookie());
        }
        let mut wrong = self.leave_where(|one| target(one).is_none(), links);
        let pin_path = &self.factory.pin_path;
        for one in &mut self.namespaces {
            let Some(target) = target(one) else { continue };
            let before = one.interfaces.len();
            let failed = one.release_all_but(Some(target), (pin_path, links));
            wrong.extend(failed.iter().map(still_attached));
            if one.interfaces.len() < before {
                one.look(pin_path, links);
                self.doors.follow(one, links);
            }
        }
        wrong
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
            let failed = one.release_all_but(None, (&self.factory.pin_path, links));
            wrong.extend(failed.iter().map(still_attached));
            if failed.is_empty() {
                self.forget(one);
            } else {
                self.namespaces.push(one);
            }
        }
        wrong
    }

    /// Nothing is attached there any more.
    fn forget(&mut self, OfNamespace { entrance, .. }: OfNamespace) {
        tracing::info!("left {}", entrance.netns());
        self.served.remove(entrance.cookie());
        self.doors.forget(entrance.cookie());
        self.sets = SetPins::Due;
        // It may have another name, by which it is served from now on.
        self.failed.retain(|_, failed| !failed.is_twice());
        if let Err(error) = self.factory.followers.leave(entrance.cookie()) {
            tracing::error!("{error:#}");
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
