//! The table of translated connections, to be read.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use aya::maps::MapData;
use proxyip_common::flow::{FlowKey, Translation};

use crate::bpf::buckets::Buckets;
use crate::bpf::pins::map_directory;
use crate::bpf::pod::Raw;

const UNREADABLE: &str = "the translated connections cannot be read";

/// The table.
#[derive(Clone, Debug)]
pub struct TranslationMap {
    buckets: Arc<Buckets<Raw<FlowKey>, Raw<Translation>>>,
    capacity: u32,
}

impl TranslationMap {
    pub(crate) fn open(pin_path: &Path) -> Result<Self> {
        Self::open_in(&map_directory(pin_path))
    }

    /// As [`TranslationMap::open`], in a directory of maps of any layout.
    pub(crate) fn open_in(directory: &Path) -> Result<Self> {
        let pin = directory.join("TRANSLATIONS");
        let context = || format!("{} cannot be opened", pin.display());
        let map = MapData::from_pin(&pin).with_context(context)?;
        let capacity = map.info().with_context(context)?.max_entries();
        let buckets = Buckets::new(map.fd().as_fd()).with_context(context)?;
        Ok(Self { buckets: Arc::new(buckets), capacity })
    }

    /// How many entries it can have.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity.into()
    }

    /// The connections that are translated now.
    pub fn living(&self) -> impl Iterator<Item = Result<FlowKey>> {
        self.buckets.entries().filter_map(|entry| match entry {
            Ok((_, Raw(translation))) if translation.state == Translation::CLOSED => None,
            Ok((Raw(key), _)) => Some(Ok(key)),
            Err(error) => Some(Err(error).context(UNREADABLE)),
        })
    }

    /// How many connections are translated now.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn count(&self) -> Result<u64> {
        self.living().try_fold(0, |count, key| key.map(|_| count + 1))
    }
}
