//! Ports whose connections are translated for a while, in the kernel's table.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData};
use proxyip_common::settings::{Fallback, PlacedPort};

use crate::bpf::patience::patiently;
use crate::bpf::pod::Raw;
use crate::tables::maps::{open_owned, remove};
use crate::tables::owners::claim;

const UNWRITABLE: &str = "the fallbacks of ports cannot be written";

/// The table. Only the writer has it.
pub(super) struct FallbackTable(HashMap<MapData, Raw<PlacedPort>, Raw<Fallback>>);

impl FallbackTable {
    /// Empties it: an agent that starts tries accept at once.
    pub(super) fn open_empty(pin_path: &Path) -> Result<Self> {
        let mut table = Self(open_owned(pin_path, &claim!("FALLBACKS"))?);
        let there: Vec<_> = table.0.keys().filter_map(Result::ok).collect();
        for Raw(at) in there {
            table.end(at)?;
        }
        Ok(table)
    }

    /// The ports that have fallen back in some namespace.
    pub(super) fn ports(&self) -> Result<BTreeSet<u16>> {
        let there = self.0.keys().map(|key| key.map(|Raw(at)| at.port));
        there.collect::<Result<_, _>>().context("the fallbacks of ports cannot be read")
    }

    pub(super) fn begin(&mut self, at: PlacedPort, fallback: Fallback) -> Result<()> {
        patiently(|| self.0.insert(Raw(at), Raw(fallback), 0)).context(UNWRITABLE)
    }

    pub(super) fn end(&mut self, at: PlacedPort) -> Result<()> {
        remove(&mut self.0, &Raw(at)).context(UNWRITABLE)
    }
}
