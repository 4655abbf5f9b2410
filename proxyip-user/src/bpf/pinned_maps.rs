//! The pinned maps of a running agent.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result};
use aya::maps::{MapData, MapInfo};

use super::in_place::Change;
use super::pins::{discard, list, name, succeeds, successor};

/// The maps that were pinned when the agent started.
#[derive(Debug)]
pub(crate) struct PinnedMaps {
    directory: PathBuf,
    maps: Vec<(String, u32)>,
}

impl PinnedMaps {
    /// Those that are pinned now.
    pub(crate) fn read(directory: PathBuf) -> Result<Self> {
        let map = |pin: PathBuf| {
            let info = MapInfo::from_pin(&pin)
                .with_context(|| format!("{} cannot be read", pin.display()))?;
            Ok((name(&pin), info.id()))
        };
        let pins = list(&directory)?.into_iter().filter(|pin| succeeds(pin).is_none());
        let maps = pins.map(map).collect::<Result<_>>()?;
        Ok(Self { directory, maps })
    }

    /// Pins again those whose pins are gone, or stand for other maps; returns what they are called, and what goes wrong.
    ///
    /// The programs keep the maps alive, but the next agent finds them by their pins. The programs of a namespace that comes
    /// do so too.
    pub(crate) fn ensure(&self) -> (Vec<(String, Change)>, Vec<Error>) {
        let (mut mended, mut wrong) = (Vec::new(), Vec::new());
        for (map, id) in &self.maps {
            let pin = self.directory.join(map);
            let there = MapInfo::from_pin(&pin).map(|info| info.id()).ok();
            if there != Some(*id) {
                let change = if pin.exists() { Change::Exchanged } else { Change::Pinned };
                let context = || format!("{} cannot be pinned again", pin.display());
                match put_in_place(*id, &pin).with_context(context) {
                    Ok(()) => mended.push((format!("map {map}"), change)),
                    Err(error) => wrong.push(error),
                }
            }
        }
        (mended, wrong)
    }
}

/// Pins a map, in the place of what is pinned there.
fn put_in_place(id: u32, pin: &Path) -> Result<()> {
    fs::create_dir_all(pin.parent().unwrap_or(pin))?;
    let new = successor(pin);
    discard(&new)?;
    MapData::from_id(id)?.pin(&new)?;
    Ok(fs::rename(&new, pin)?)
}
