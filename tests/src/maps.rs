//! The agent's pinned maps.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use aya::maps::{Array, Map, MapData};
use proxyip_common::cookie::{SECRETS, Secret};

use crate::site::Site;

/// Bytes of kernel memory that the agent's pinned maps hold.
///
/// # Panics
/// When there are none, or they cannot be opened.
pub(crate) fn memory_of_maps(site: &Site) -> u64 {
    let directory = fs::read_dir(directory(site)).expect("the directory of pinned maps");
    directory.map(|pin| memory(&open(&pin.expect("a directory entry").path()))).sum()
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
fn memory(map: &MapData) -> u64 {
    let descriptor = map.fd().as_fd().as_raw_fd();
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).expect("its fdinfo");
    let field = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    field.and_then(|bytes| bytes.trim().parse().ok()).expect("bytes of memory")
}
