//! Makes instances of the kernel programs for namespaces: loads them, writes their settings, follows the namespace.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use tokio::runtime::Handle;

use super::interface::Hooks;
use super::looked::Looked;
use super::of_namespace::OfNamespace;
use super::relay::Relay;
use crate::bpf::direction::Direction;
use crate::bpf::loader::Loader;
use crate::bpf::poll::Messages;
use crate::bpf::programs::Loaded;
use crate::host::capability::Capability;
use crate::host::served::{Entrance, Member};
use crate::reconcile::namespaces::{Changed, Watcher, place};
use crate::supervise::Health;
use crate::tables::secrets::EpochLength;

/// Makes instances.
pub(super) struct Factory {
    pub(super) loader: Arc<Loader>,
    pub(super) pin_path: PathBuf,
    pub(super) epoch_length: EpochLength,
    pub(super) capability: Capability,
    pub(super) health: Health,
    /// Is called with the cookie of a namespace whose interfaces have changed.
    pub(super) changed: Changed,
    /// Passes on the programs' messages.
    pub(super) runtime: Handle,
}

/// An instance whose programs the kernel has verified. They are not attached yet, and their settings are written.
pub(super) struct Prepared {
    pub(super) member: Member,
    programs: Vec<(Direction, Loaded)>,
    watcher: Watcher,
    logger: Option<Messages>,
}

impl Factory {
    /// Loads the programs for a namespace. `taken` are the cookies of all namespaces that need their entries of
    /// `NAMESPACES`.
    pub(super) fn prepare(&self, entrance: &Entrance, taken: &[u64]) -> Result<Prepared> {
        entrance.run(|| {
            let cookie = entrance.cookie();
            let index = place(&self.pin_path, cookie, taken)?;
            let mut instance = self.loader.interfaces(index)?;
            let watcher =
                Watcher::new(&mut instance.ebpf, index, cookie, self.epoch_length.clone())?;
            let member = Member { entrance: entrance.clone(), seen: watcher.seen() };
            let (programs, logger) = (instance.programs, instance.logger);
            Ok(Prepared { member, programs, watcher, logger })
        })
    }

    /// Follows the namespace from now on.
    pub(super) fn follow(&self, prepared: Prepared) -> Result<OfNamespace> {
        let Prepared { member: Member { entrance, .. }, programs, watcher, logger } = prepared;
        let follower = watcher.spawn(entrance.clone(), (&self.health, &self.changed))?;
        let relay = logger.map(|logger| Relay::start(&self.runtime, logger));
        let hooks = if self.capability.tcx { Hooks::Links } else { Hooks::Filters };
        Ok(OfNamespace {
            entrance,
            programs,
            interfaces: Vec::new(),
            sought: Vec::new(),
            hooks,
            follower,
            relay,
            looked: Looked::default(),
            looked_at: None,
        })
    }
}
