//! What an agent before this one attached, and this one does not want.

use std::path::{Path, PathBuf};

use anyhow::Result;
use proxyip_api::finding::{Finding, FindingKind};

use super::attachments::Attachments;
use super::leaving::still_attached;
use super::remaining::{Others, Place};
use crate::bpf::direction::Direction;
use crate::bpf::{attached, links, pins};
use crate::host::namespace::{self, Living};

impl Attachments {
    /// Detaches it. What is in a namespace that cannot be seen or served now stays: it guards, and may be wanted. What cannot be
    /// detached is tried again. Returns why.
    pub(super) fn detach_others(&mut self) -> Option<Finding> {
        self.try_to_detach().err().map(|error| still_attached(&error))
    }

    fn try_to_detach(&mut self) -> Result<()> {
        let is_tried_again = self.others.stuck > 0;
        // Should the pins not be readable.
        self.others.stuck = 1;
        let (others, kept) = self.others_and_kept()?;
        if !is_tried_again {
            self.warn_of_translated(&others)?;
        }
        self.others = Others { kept: kept.len(), stuck: 0 };
        let mut remaining = kept;
        let mut done = Ok(());
        for pin in &others {
            let detached = attached::detach(pin);
            if detached.is_ok() {
                tracing::info!("detached {}", pin.display());
            } else {
                self.others.stuck += 1;
                remaining.push(pin.clone());
            }
            done = done.and(detached);
        }
        // The entries of other namespaces are free.
        self.targets.needed = links::cookies(&remaining).into_iter().collect();
        done
    }

    /// Does so later with what has stayed. Returns what an operator should know.
    pub(super) fn follow_others(&mut self) -> Option<Finding> {
        if !self.others.are_there() || self.links.is_hidden() {
            return None;
        }
        let stuck = self.detach_others();
        let sentence = format!(
            "programs of an agent before this one go on guarding in network namespaces that cannot be seen or served now: {}",
            self.others.kept
        );
        let kept = Finding::new(FindingKind::StillAttached, sentence);
        stuck.or_else(|| (self.others.kept > 0).then_some(kept))
    }

    /// The pins of what is not wanted, and of what may be.
    fn others_and_kept(&self) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
        let (others, seeing) =
            (self.links.others()?, (namespace::own_numbers(), Living::default()));
        Ok(others.into_iter().partition(|pin| !self.place(pin, &seeing).keeps(self.is_blind)))
    }

    /// `own` are the numbers of the agent's namespace, which it always sees.
    fn place(&self, pin: &Path, (own, living): &([Option<u64>; 2], Living)) -> Place {
        let Some(number) = pins::namespace(&pins::name(pin)) else { return Place::Host };
        match self.targets.namespaces.iter().find(|one| one.entrance.is_number(number)) {
            Some(one) => Place::Served { is_known: one.is_known },
            None if own.contains(&Some(number)) => Place::Own,
            None => Place::Unseen { is_attached: links::is_attached(pin, living) },
        }
    }

    fn warn_of_translated(&self, others: &[PathBuf]) -> Result<()> {
        let is_ingress =
            |pin: &PathBuf| attached::direction(&pins::name(pin)) == Some(Direction::Ingress);
        if !others.iter().any(is_ingress) {
            return Ok(());
        }
        let living = self.targets.translations.count()?;
        if living > 0 {
            tracing::warn!(
                "translated connections: {living}; those on interfaces that are detached now will hang \
                 (`proxyip detach` before the start lets them end)"
            );
        }
        Ok(())
    }
}
