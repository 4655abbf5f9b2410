//! The scopes of lists: where new lists are written, and when old ones are removed.

use std::collections::BTreeSet;
use std::mem::take;
use std::path::Path;

use anyhow::Result;

use crate::desired::networks::Entries;
use crate::steps::step;
use crate::tables::trie::Trie;

/// The tries, and who may have something in them.
pub(crate) struct Scopes {
    pub(crate) trusted: Trie,
    pub(crate) clients: Trie,
    next: u32,
    /// The scopes that were replaced since the last sweep.
    replaced: BTreeSet<u32>,
    /// The scopes that were replaced before the last sweep.
    over: BTreeSet<u32>,
}

impl Scopes {
    /// Opens the tries, and removes every scope that is not in force. No program reads those: an agent that was killed while
    /// it wrote has left them.
    pub(crate) fn open(pin_path: &Path, in_force: &BTreeSet<u32>) -> Result<Self> {
        let (mut trusted, mut clients) = (Trie::trusted(pin_path)?, Trie::clients(pin_path)?);
        for trie in [&mut trusted, &mut clients] {
            let orphans = trie.scopes().difference(in_force).copied().collect();
            trie.sweep(&orphans)?;
        }
        let next = in_force.last().map_or(1, |last| last.wrapping_add(1));
        Ok(Self { trusted, clients, next, replaced: BTreeSet::new(), over: BTreeSet::new() })
    }

    /// The first scope that nothing has.
    pub(crate) const fn next(&self) -> u32 {
        self.next
    }

    /// Writes new lists under this scope, which is [`Scopes::next`].
    ///
    /// # Errors
    /// If there is no room; then the scope is not used.
    pub(crate) fn write(&mut self, scope: u32, sources: &Entries, clients: &Entries) -> Result<()> {
        self.next = scope.wrapping_add(1);
        let written = self.trusted.fill(scope, sources).and_then(|()| {
            step();
            self.clients.fill(scope, clients)
        });
        if written.is_err() {
            self.discard(&BTreeSet::from([scope]));
        }
        written
    }

    /// Removes lists that never were in force, at once: no program has read them, and another list may need their room.
    pub(crate) fn discard(&mut self, scopes: &BTreeSet<u32>) {
        let removed = self.trusted.sweep(scopes).and_then(|()| self.clients.sweep(scopes));
        if let Err(error) = removed {
            tracing::error!("lists that were not taken stay, and are tried again: {error:#}");
            self.replaced.extend(scopes);
        }
    }

    /// Notes that a scope is not used any more.
    pub(crate) fn replaced(&mut self, scope: u32) {
        self.replaced.insert(scope);
    }

    /// Notes that a scope is used, maybe again before anything was swept.
    pub(crate) fn used(&mut self, scope: u32) {
        self.replaced.remove(&scope);
    }

    /// Removes the lists that were replaced before the last call. Call it once a second: each program runs for
    /// microseconds, so no program still reads a list that was replaced so long ago.
    pub(crate) fn sweep(&mut self) -> Result<()> {
        if !self.over.is_empty() {
            self.trusted.sweep(&self.over)?;
            step();
            self.clients.sweep(&self.over)?;
        }
        self.over = take(&mut self.replaced);
        Ok(())
    }
}
