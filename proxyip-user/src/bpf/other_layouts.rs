//! What versions of proxyip with other layouts have pinned and attached.
//!
//! Programs that are put into their links would know none of their connections: translated ones would hang, and others
//! would show the load balancer from then on.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use aya::maps::MapInfo;
use aya::programs::loaded_programs;

use super::pins::{self, map_directory};
use super::strays::pinned_programs;

/// The directories of maps of other layouts.
pub(crate) fn directories(pin_path: &Path) -> Result<Vec<PathBuf>> {
    let own = map_directory(pin_path);
    let mut directories = pins::list(pin_path)?;
    directories.retain(|one| *one != own && pins::name(one).starts_with(pins::MAPS));
    directories.sort();
    Ok(directories)
}

/// Makes sure that no pinned link and no filter has a program that uses maps of another layout. Changes nothing.
///
/// # Errors
/// Names the layout, and what to do.
pub(crate) fn check(pin_path: &Path) -> Result<()> {
    for directory in directories(pin_path)? {
        if is_in_use(pin_path, &directory)? {
            bail!("{}", sentence(pin_path, &directory));
        }
    }
    Ok(())
}

/// Whether a program that is attached uses one of the maps.
fn is_in_use(pin_path: &Path, directory: &Path) -> Result<bool> {
    let mut maps = HashSet::new();
    for pin in pins::list(directory)? {
        let info = MapInfo::from_pin(&pin);
        maps.insert(info.with_context(|| format!("{} cannot be read", pin.display()))?.id());
    }
    let attached = pinned_programs(pin_path)?;
    for program in loaded_programs() {
        // One that has ended meanwhile is attached no longer.
        let Ok(program) = program else { continue };
        if attached.contains(&program.id()) {
            let used = program.map_ids().context("the kernel does not say which maps are used")?;
            if used.into_iter().flatten().any(|map| maps.contains(&map)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn sentence(pin_path: &Path, directory: &Path) -> String {
    let layout = |directory: &Path| pins::name(directory).replace(pins::MAPS, "layout ");
    format!(
        "a version of proxyip with {} has attached its programs, and this one with {} would lose their connections. Nothing \
         has been changed, and they go on. Rules of `proxyip acl` and drained ports will be lost: write down what the other \
         version says of them while it runs. Then stop it; run `proxyip detach --pin-path {}`, of either version, which lets \
         translated connections end; then start this one",
        layout(directory),
        layout(&map_directory(pin_path)),
        pin_path.display()
    )
}
