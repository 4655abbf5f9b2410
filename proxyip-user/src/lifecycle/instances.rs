//! What a namespace needs to be served: its own programs, its settings in the maps, and somebody who follows it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;

use super::interface::Hooks;
use super::looked::Looked;
use super::of_namespace::{OfNamespace, Presence};
use crate::bpf::direction::Direction;
use crate::bpf::loader::Loader;
use crate::bpf::programs::Loaded;
use crate::host::capability::Capability;
use crate::host::entrance::Entrance;
use crate::host::namespace::Namespace;
use crate::host::served::Member;
use crate::reconcile::followers::Followers;
use crate::reconcile::namespaces::{Tables, Watcher};
use crate::steps::step;
use crate::tables::secrets::EpochLength;

/// Prepares namespaces.
pub(super) struct Factory {
    pub(super) loader: Arc<Loader>,
    pub(super) pin_path: PathBuf,
    pub(super) epoch_length: EpochLength,
    pub(super) capability: Capability,
    pub(super) tables: Tables,
    pub(super) followers: Followers,
    /// The agent's own namespace.
    pub(super) home: Arc<Namespace>,
}

/// A namespace whose programs the kernel has verified. They are not attached yet, and its settings are written.
pub(super) struct Prepared {
    pub(super) member: Member,
    place: u32,
    programs: Vec<(Direction, Loaded)>,
    watcher: Watcher,
}

impl Factory {
    /// Loads the programs for a namespace. `taken` are the cookies of all namespaces that need their entries of
    /// `NAMESPACES`.
    pub(super) fn prepare(&mut self, entrance: &Entrance, taken: &[u64]) -> Result<Prepared> {
        entrance.run(|| {
            let cookie = entrance.cookie();
            let index = self.tables.place(cookie, taken)?;
            let programs = self.loader.fronts(index)?;
            step();
            let epoch_length = self.epoch_length.clone();
            let watcher = Watcher::new(&mut self.tables, index, cookie, epoch_length)?;
            step();
            let member = Member { entrance: entrance.clone(), seen: watcher.seen() };
            Ok(Prepared { member, place: index, programs, watcher })
        })
    }

    /// Follows the namespace from now on.
    pub(super) fn follow(&self, prepared: Prepared) -> Result<OfNamespace> {
        let Prepared { member: Member { entrance, .. }, place, programs, watcher } = prepared;
        self.followers.follow(watcher, entrance.clone())?;
        step();
        let hooks = if self.capability.tcx { Hooks::Links } else { Hooks::Filters };
        Ok(OfNamespace {
            entrance,
            home: Arc::clone(&self.home),
            programs,
            interfaces: BTreeMap::new(),
            sought: Vec::new(),
            xdp: Vec::new(),
            place,
            hooks,
            is_replaced: false,
            presence: Presence::Visible,
            is_known: false,
            looked: Looked::default(),
            looked_at: None,
        })
    }
}
