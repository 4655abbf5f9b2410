//! What an agent before this one attached, and this one does not want.

use std::path::{Path, PathBuf};

use anyhow::Result;
use proxyip_api::finding::{Finding, FindingKind};

use super::attachments::Attachments;
use super::targets::still_attached;
use crate::bpf::direction::Direction;
use crate::bpf::{attached, links, pins};
use crate::host::namespace;

impl Attachments {
    /// Detaches it. What is in a namespace that cannot be seen or served now stays: it guards, and may be wanted.
    ///
    /// # Errors
    /// If something cannot be detached. The rest is.
    pub(super) fn detach_others(&mut self) -> Result<()> {
        let mut others = self.links.others()?;
        let before = others.len();
        // Kernels without cookies have inodes in the names.
        let own = [namespace::cookie().ok(), namespace::inode().ok()];
        others.retain(|pin| !self.may_be_wanted(pin, own));
        self.warn_of_translated(&others)?;
        self.others = before - others.len();
        let mut done = Ok(());
        for pin in &others {
            tracing::info!("detaching {}", pin.display());
            if let Err(error) = attached::detach(pin) {
                // It is tried again.
                self.others += 1;
                done = done.and(Err(error));
            }
        }
        done
    }

    /// Does so later with what has stayed. Returns what an operator should know.
    pub(super) fn follow_others(&mut self) -> Option<Finding> {
        if self.others == 0 || self.links.is_hidden() {
            return None;
        }
        if let Err(error) = self.detach_others() {
            return Some(still_attached(&error));
        }
        let sentence = format!(
            "programs of an agent before this one go on guarding in network namespaces that cannot be seen or served now: {}",
            self.others
        );
        (self.others > 0).then(|| Finding::new(FindingKind::StillAttached, sentence))
    }

    /// `own` are the numbers of the agent's namespace, which it always sees.
    fn may_be_wanted(&self, pin: &Path, own: [Option<u64>; 2]) -> bool {
        let Some(number) = pins::namespace(&pins::name(pin)) else { return false };
        match self.targets.namespaces.iter().find(|one| one.entrance.is_number(number)) {
            Some(one) => !one.looked.missing.is_empty(),
            None => self.is_blind && !own.contains(&Some(number)) && links::has_target(pin),
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
