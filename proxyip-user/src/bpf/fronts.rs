//! The programs that are attached to interfaces. Each namespace has its own, which do nothing but name the namespace and call
//! the programs that all share. The kernel verifies a few instructions for a namespace, instead of a hundred thousand.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, ensure};
use aya::maps::MapInfo;
use aya::programs::{ProgramInfo, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};

use super::direction::Direction;
use super::globals::number;
use super::object;
use super::pins::map_directory;
use super::programs::{EGRESS, INGRESS, Loaded, XDP, program_of};

/// The maps of their object. All are pinned, and each program has the first.
const MAPS: [&str; 3] = ["PLACES", "PROGRAMS", "XDP_PROGRAMS"];
/// Those of the programs at TC, and of the one at XDP, by their places there.
const AT_TC: [usize; 2] = [0, 1];
const AT_XDP: [usize; 2] = [0, 2];

/// Loads them.
pub(super) struct Fronts {
    loader: Mutex<EbpfLoader<'static>>,
    directory: PathBuf,
    /// The maps that are pinned when the agent starts. Others may be pinned in their places later.
    maps: OnceLock<Vec<u32>>,
}

impl Fronts {
    pub(super) fn new(pin_path: &Path) -> Self {
        let mut loader = EbpfLoader::new();
        // They touch nothing of the kernel's.
        loader.btf(None);
        let directory = map_directory(pin_path);
        for map in MAPS {
            loader.map_pin_path(map, directory.join(map));
        }
        Self { loader: Mutex::new(loader), directory, maps: OnceLock::new() }
    }

    /// From now on all have the maps that are pinned now.
    ///
    /// # Errors
    /// If one is not.
    pub(super) fn keep_maps(&self) -> Result<()> {
        let id = |map| {
            let info = MapInfo::from_pin(self.directory.join(map));
            info.map(|info| info.id()).with_context(|| format!("the pin of map {map}"))
        };
        let maps = MAPS.into_iter().map(id).collect::<Result<_>>()?;
        self.maps.set(maps).ok();
        Ok(())
    }

    /// Those of the namespace at this entry of `NAMESPACES`.
    pub(super) fn load(&self, namespace: u32) -> Result<Vec<(Direction, Loaded)>> {
        let mut ebpf = self.object(namespace)?;
        // Egress first: no connection may be translated on its way in alone.
        let programs = [(EGRESS, Direction::Egress), (INGRESS, Direction::Ingress)];
        let load = |(name, direction): (&str, Direction)| {
            let program: &mut SchedClassifier = program_of(&mut ebpf, name)?;
            program.load().with_context(|| {
                format!("the program in front of {} is refused by the kernel", direction.label())
            })?;
            self.check(&program.info()?, AT_TC)?;
            Ok((direction, Loaded::new(program.fd(), program.info())?))
        };
        programs.into_iter().map(load).collect()
    }

    /// The one at XDP of this namespace.
    pub(super) fn load_xdp(&self, namespace: u32) -> Result<Loaded> {
        let mut ebpf = self.object(namespace)?;
        let program: &mut Xdp = program_of(&mut ebpf, XDP)?;
        program.load().context("the program in front of XDP is refused by the kernel")?;
        self.check(&program.info()?, AT_XDP)?;
        Loaded::new(program.fd(), program.info())
    }

    fn object(&self, namespace: u32) -> Result<Ebpf> {
        let mut loader = self.loader.lock().unwrap_or_else(PoisonError::into_inner);
        loader.override_global("NAMESPACE", number(namespace)?, true);
        loader.load(object::FRONT).context("the kernel refuses the maps of the programs")
    }

    /// A program with other maps would find none of those that all namespaces share.
    fn check(&self, program: &ProgramInfo, maps: [usize; 2]) -> Result<()> {
        let used = program.map_ids()?.unwrap_or_default();
        for map in maps {
            let expected = self.maps.get().and_then(|ids| ids.get(map));
            ensure!(
                expected.is_none_or(|id| used.contains(id)),
                "{} stands for another map than the agent's: it is pinned again within a second",
                self.directory.join(MAPS[map]).display()
            );
        }
        Ok(())
    }
}
