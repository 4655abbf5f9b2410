//! The pinned maps of a running agent.

use std::path::PathBuf;

use anyhow::{Context, Result};
use aya::maps::{MapData, MapInfo};

use super::pins::{list, name};

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
        let maps = list(&directory)?.into_iter().map(map).collect::<Result<_>>()?;
        Ok(Self { directory, maps })
    }

    /// Pins again those whose pins are gone; returns what they are called.
    ///
    /// The programs keep the maps alive, but the next agent finds them by their pins.
    pub(crate) fn ensure(&self) -> Result<Vec<String>> {
        let there: Vec<_> = list(&self.directory)?.iter().map(|pin| name(pin)).collect();
        let gone: Vec<_> = self.maps.iter().filter(|(map, _)| !there.contains(map)).collect();
        let pin = |(map, id): &(String, u32)| {
            let path = self.directory.join(map);
            let context = || format!("{} cannot be pinned again", path.display());
            std::fs::create_dir_all(&self.directory).with_context(context)?;
            MapData::from_id(*id).with_context(context)?.pin(&path).with_context(context)?;
            Ok(format!("map {map}"))
        };
        gone.into_iter().map(pin).collect()
    }
}
