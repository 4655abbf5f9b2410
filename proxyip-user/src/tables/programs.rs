//! The programs on interfaces that work for all namespaces: those in front of them look here whom to call.

use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{MapData, ProgramArray};
use proxyip_common::settings::front;

use super::maps::open_owned;
use super::owners::claim;
use crate::bpf::direction::Direction;
use crate::bpf::programs::Loaded;
use crate::steps::step;

/// The table. The kernel empties it when nobody has it open and it is not pinned.
pub(crate) struct Programs(ProgramArray<MapData>);

impl Programs {
    pub(crate) fn open(pin_path: &Path) -> Result<Self> {
        open_owned(pin_path, &claim!("PROGRAMS")).map(Self)
    }

    /// From now on these do the work in all namespaces.
    pub(crate) fn set(&mut self, programs: &[(Direction, Loaded)]) -> Result<()> {
        for (direction, program) in programs {
            step();
            let set = self.0.set(direction.front(), program.descriptor(), 0);
            set.with_context(|| {
                format!("the {} program cannot be put in its place", direction.label())
            })?;
        }
        Ok(())
    }
}

/// The same at XDP.
pub(crate) struct XdpPrograms(ProgramArray<MapData>);

impl XdpPrograms {
    pub(crate) fn open(pin_path: &Path) -> Result<Self> {
        open_owned(pin_path, &claim!("XDP_PROGRAMS")).map(Self)
    }

    /// From now on this one does the work in all namespaces.
    pub(crate) fn set(&mut self, program: &Loaded) -> Result<()> {
        step();
        let set = self.0.set(front::XDP, program.descriptor(), 0);
        set.context("the program at XDP cannot be put in its place")
    }
}
