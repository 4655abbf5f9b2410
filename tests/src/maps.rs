//! The agent's pinned maps.

use std::collections::HashSet;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, Map, MapData};
use proxyip_common::cookie::{SECRETS, Secret};
use proxyip_common::flow::{FlowKey, FlowRecord};
use zerocopy::transmute;

use crate::site::Site;

/// Bytes of kernel memory that the agent's pinned maps hold.
///
/// # Panics
/// When there are none, or they cannot be opened.
pub(crate) fn memory_of_maps(site: &Site) -> u64 {
    let directory = fs::read_dir(directory(site)).expect("the directory of pinned maps");
    directory.map(|pin| memory(&open(&pin.expect("a directory entry").path()))).sum()
}

/// How many entries a pinned map can have.
///
/// # Panics
/// When there is none of this name, or it cannot be opened.
#[must_use]
pub fn capacity_of_map(site: &Site, name: &str) -> usize {
    let map = open(&directory(site).join(name));
    let capacity = map.info().map(|info| info.max_entries());
    capacity.expect("information on a map").try_into().expect("a number of entries")
}

/// The secrets of the cookie, by slot.
///
/// # Panics
/// When they cannot be read.
pub(crate) fn secrets(site: &Site) -> Vec<Secret> {
    let map = Map::Array(open(&directory(site).join("SECRETS")));
    let map = Array::<MapData, Secret>::try_from(map).expect("an array of secrets");
    (0..SECRETS).map(|slot| map.get(&slot, 0).expect("a secret")).collect()
}

/// The agent's flow table, through its pin.
#[derive(Debug)]
pub struct FlowTable(HashMap<MapData, [u8; size_of::<FlowKey>()], [u8; size_of::<FlowRecord>()]>);

impl FlowTable {
    /// That of this site's agent.
    ///
    /// # Panics
    /// When there is none, or it cannot be opened.
    #[must_use]
    pub fn of(site: &Site) -> Self {
        let map = Map::LruHashMap(open(&directory(site).join("FLOWS")));
        Self(HashMap::try_from(map).expect("a table of flows"))
    }

    /// All that is in it, in no order.
    ///
    /// # Panics
    /// When it cannot be read, or changes meanwhile.
    #[must_use]
    pub fn entries(&self) -> Vec<(FlowKey, FlowRecord)> {
        let entries = self.0.iter().map(|entry| entry.expect("a flow that stays"));
        entries.map(|(key, record)| (transmute!(key), transmute!(record))).collect()
    }

    /// How many flows there are with a key that is `chosen`. Others may come and go meanwhile.
    ///
    /// # Panics
    /// When the table cannot be read.
    #[must_use]
    pub fn count(&self, chosen: impl Fn(&FlowKey) -> bool) -> usize {
        let keys = self.0.keys().map(|key| key.expect("a key"));
        // Where a key goes while it is read, the kernel begins anew.
        let chosen = keys.filter(|key| chosen(&transmute!(*key)));
        chosen.collect::<HashSet<_>>().len()
    }

    /// Puts a flow into it.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn insert(&mut self, key: FlowKey, record: FlowRecord) {
        let key: [u8; size_of::<FlowKey>()] = transmute!(key);
        let record: [u8; size_of::<FlowRecord>()] = transmute!(record);
        self.0.insert(key, record, 0).expect("a place for a flow");
    }
}

/// Where an agent of this site has pinned its maps.
fn directory(site: &Site) -> PathBuf {
    let entries = fs::read_dir(site.scratch.pin_path()).expect("the agent's pins");
    let mut paths = entries.map(|entry| entry.expect("a directory entry").path());
    paths.find(|path| path.join("SECRETS").exists()).expect("a directory of maps")
}

fn open(pin: &Path) -> MapData {
    MapData::from_pin(pin).unwrap_or_else(|error| panic!("{}: {error}", pin.display()))
}

/// Since Linux 6.4 this is what the map holds now, before that what it might hold.
pub(crate) fn memory(map: &MapData) -> u64 {
    let descriptor = map.fd().as_fd().as_raw_fd();
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).expect("its fdinfo");
    let field = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    field.and_then(|bytes| bytes.trim().parse().ok()).expect("bytes of memory")
}
