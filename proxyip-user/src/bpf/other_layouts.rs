//! What versions of proxyip with other layouts have pinned and attached.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aya::maps::MapInfo;
use aya::programs::loaded_programs;

use super::pins::{self, map_directory};
use super::strays::pinned_programs;

/// The directories of maps of other layouts, the newest last.
pub(crate) fn directories(pin_path: &Path) -> Result<Vec<PathBuf>> {
    let own = map_directory(pin_path);
    let mut directories = pins::list(pin_path)?;
    directories.retain(|one| *one != own && layout(one).is_some());
    directories.sort_by_key(|one| layout(one));
    Ok(directories)
}

/// The number of the layout whose maps are in a directory.
fn layout(directory: &Path) -> Option<u32> {
    pins::name(directory).strip_prefix(pins::MAPS)?.parse().ok()
}

/// What programs on interfaces use, those in front of others and, in versions that have none, the ones that do the work.
const OF_INTERFACES: [&str; 2] = ["PROGRAMS", "PORTS"];

/// Whether programs on interfaces are attached that use the maps of this directory.
///
/// # Errors
/// If the kernel does not say.
pub(super) fn is_in_use(pin_path: &Path, maps: &Path) -> Result<bool> {
    let mut wanted = Vec::new();
    for map in OF_INTERFACES.map(|name| maps.join(name)).into_iter().filter(|map| map.exists()) {
        let info = MapInfo::from_pin(&map);
        wanted.push(info.with_context(|| format!("{} cannot be read", map.display()))?.id());
    }
    let attached = pinned_programs(pin_path)?;
    for program in loaded_programs() {
        // One that has ended meanwhile is attached no longer.
        let Ok(program) = program else { continue };
        if attached.contains(&program.id()) {
            let used = program.map_ids().context("the kernel does not say which maps are used")?;
            if used.into_iter().flatten().any(|used| wanted.contains(&used)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
