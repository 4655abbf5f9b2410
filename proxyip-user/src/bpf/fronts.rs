//! The programs that are attached to interfaces. Each namespace has its own, which do nothing but name the namespace and call
//! the programs that all share. The kernel verifies a few instructions for a namespace, instead of a hundred thousand.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use aya::EbpfLoader;
use aya::programs::SchedClassifier;

use super::direction::Direction;
use super::globals::number;
use super::object;
use super::pins::map_directory;
use super::programs::{EGRESS, INGRESS, Loaded, program_of};

/// The maps of their object. Both are pinned.
const MAPS: [&str; 2] = ["PLACES", "PROGRAMS"];

/// Loads them.
pub(super) struct Fronts(Mutex<EbpfLoader<'static>>);

impl Fronts {
    pub(super) fn new(pin_path: &Path) -> Self {
        let mut loader = EbpfLoader::new();
        // They touch nothing of the kernel's.
        loader.btf(None);
        let directory = map_directory(pin_path);
        for map in MAPS {
            loader.map_pin_path(map, directory.join(map));
        }
        Self(Mutex::new(loader))
    }

    /// Those of the namespace at this entry of `NAMESPACES`.
    pub(super) fn load(&self, namespace: u32) -> Result<Vec<(Direction, Loaded)>> {
        let mut loader = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loader.override_global("NAMESPACE", number(namespace)?, true);
        let mut ebpf =
            loader.load(object::FRONT).context("the kernel refuses the maps of the programs")?;
        // Egress first: no connection may be translated on its way in alone.
        let programs = [(EGRESS, Direction::Egress), (INGRESS, Direction::Ingress)];
        let load = |(name, direction): (&str, Direction)| {
            let program: &mut SchedClassifier = program_of(&mut ebpf, name)?;
            program.load().with_context(|| {
                format!("the program in front of {} is refused by the kernel", direction.label())
            })?;
            Ok((direction, Loaded::new(program.fd(), program.info())?))
        };
        programs.into_iter().map(load).collect()
    }
}
