//! The programs on interfaces that work for all namespaces.

use std::path::Path;

use anyhow::Result;
use tokio::runtime::Handle;

use super::relay::Relay;
use crate::bpf::direction::Direction;
use crate::bpf::loader::Instance;
use crate::bpf::programs::Loaded;
use crate::tables::programs::Programs;

/// Loaded, and not at work yet.
pub(super) struct Shared {
    programs: Vec<(Direction, Loaded)>,
    /// It is kept open: the kernel would empty it if somebody removed its pin.
    table: Programs,
    /// Only if the programs log.
    _relays: Vec<Relay>,
}

impl Shared {
    /// Not to be called outside a runtime.
    pub(super) fn new(pin_path: &Path, Instance { programs, loggers }: Instance) -> Result<Self> {
        let relay = |logger| Relay::start(&Handle::current(), logger);
        let relays = loggers.into_iter().map(relay).collect();
        Ok(Self { programs, table: Programs::open(pin_path)?, _relays: relays })
    }

    /// Puts them in the place of those of an agent before this one, in all namespaces at once.
    pub(super) fn put_to_work(&mut self) -> Result<()> {
        self.table.set(&self.programs)
    }
}
