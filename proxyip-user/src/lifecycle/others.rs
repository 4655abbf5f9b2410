//! What an agent before this one attached, and this one does not want.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;

use proxyip_api::finding::Finding;

use super::attachments::Attachments;
use super::targets::still_attached;
use crate::bpf::direction::Direction;
use crate::bpf::{attached, pins};
use crate::config::{Config, Namespaces};
use crate::host::matching::{files, why_nothing};

impl Attachments {
    /// Detaches it at a start.
    ///
    /// # Errors
    /// If something cannot be detached.
    pub(super) fn begin_with_others(&mut self) -> Result<()> {
        let active = Arc::clone(&self.current.borrow());
        self.others = self.detach_others(&active.config)?;
        if self.others > 0 {
            tracing::warn!(
                "programs of an agent before this one stay attached, because namespaces cannot be seen or served: {}",
                self.others
            );
        }
        Ok(())
    }

    /// Detaches later what has stayed.
    pub(super) fn follow_others(&mut self, config: &Config) -> Option<Finding> {
        if self.others == 0 {
            return None;
        }
        match self.detach_others(config) {
            Ok(staying) => {
                self.others = staying;
                None
            }
            Err(error) => Some(still_attached(&error)),
        }
    }

    /// Detaches it. While namespaces cannot be seen or served, what is in those that are not served stays: it guards, and may
    /// be wanted. Returns how many programs stay.
    ///
    /// # Errors
    /// If something cannot be detached.
    fn detach_others(&self, config: &Config) -> Result<usize> {
        let mut others = self.links.others()?;
        let before = others.len();
        if self.is_blind(config) {
            others.retain(|pin| !self.may_be_wanted(pin));
        }
        self.warn_of_translated(&others)?;
        for pin in &others {
            tracing::info!("detaching {}", pin.display());
            attached::detach(pin)?;
        }
        Ok(before - others.len())
    }

    /// Whether namespaces may be there that the agent cannot see or serve.
    fn is_blind(&self, config: &Config) -> bool {
        let finds_nothing = |netns: &Namespaces| match netns {
            Namespaces::Like(pattern) => {
                files(pattern).is_empty() && why_nothing(pattern).is_some()
            }
            Namespaces::One(_) => false,
        };
        !self.listed.missing.is_empty()
            || config.interfaces.iter().any(|one| finds_nothing(&one.netns))
    }

    fn may_be_wanted(&self, pin: &Path) -> bool {
        let Some(number) = pins::namespace(&pins::name(pin)) else { return false };
        !self.targets.namespaces.iter().any(|one| one.entrance.is_number(number))
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
