//! Where things are pinned.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result};

use super::calls::XdpMode;
use crate::host::bpffs;

/// Maps of another layout are not adopted. Raise this whenever what the maps hold changes: a type, what a number in it
/// means, a map's kind or size, the list of counters. A test compares them with `layouts/`, and says what to do.
pub(super) const LAYOUT: u32 = 14;

/// What the directories of maps are called, before the number of their layout.
pub(super) const MAPS: &str = "maps-";

/// Where maps are pinned.
pub(crate) fn map_directory(pin_path: &Path) -> PathBuf {
    let number = TEST_LAYOUT.unwrap_or(LAYOUT);
    pin_path.join(format!("{MAPS}{number}"))
}

/// So that tests have two layouts with one program.
static TEST_LAYOUT: LazyLock<Option<u32>> =
    LazyLock::new(|| std::env::var("PROXYIP_TEST_LAYOUT").ok()?.parse().ok());

/// Whether this layout is one of a test, which shares as little as possible with others.
pub(super) fn is_test_layout() -> bool {
    TEST_LAYOUT.is_some()
}

/// Where links are pinned.
pub(crate) fn link_directory(pin_path: &Path) -> PathBuf {
    pin_path.join("links")
}

/// Where the programs of named sets are pinned.
pub(crate) fn match_directory(pin_path: &Path) -> PathBuf {
    pin_path.join("match")
}

/// The pin paths of proxyip on this host, beside this one.
pub(crate) fn others(pin_path: &Path) -> Vec<PathBuf> {
    let has_layout =
        |name: &str| name.strip_prefix(MAPS).is_some_and(|layout| layout.parse::<u32>().is_ok());
    let mut paths = bpffs::pin_paths(has_layout);
    paths.retain(|path| path != pin_path);
    paths
}

/// How the names of filters' pins begin.
pub(super) const FILTER: &str = "filter-";

/// How the names of programs at XDP begin.
const XDP: &str = "xdp";

/// What a program at XDP is pinned as, in the namespace with this cookie.
pub(crate) fn xdp_pin(mode: XdpMode, cookie: u64, index: u32) -> String {
    format!("{XDP}{}-{cookie}-{index}", mode.label())
}

/// Whether a pin of this name stands for a program at XDP.
pub(super) fn is_at_xdp(name: &str) -> bool {
    name.starts_with(XDP)
}

/// The number of the namespace that a link or filter with this name is in: its cookie or, of a filter, its inode. `None` if it
/// is at no interface.
pub(crate) fn namespace(name: &str) -> Option<u64> {
    let name = name.strip_prefix(FILTER).unwrap_or(name);
    name.split('-').nth(1)?.parse().ok()
}

/// What the names of [`successor`]s end with: names on a BPF file system have no dots, and those of sets and interfaces no
/// plus.
const NEW: &str = "+new";

/// Where something is pinned before it takes the place of `pin`.
pub(crate) fn successor(pin: &Path) -> PathBuf {
    let mut new = pin.as_os_str().to_owned();
    new.push(NEW);
    new.into()
}

/// The name that a pin was to get, if an agent that was killed has left it behind on the way to its place.
pub(super) fn succeeds(pin: &Path) -> Option<String> {
    name(pin).strip_suffix(NEW).map(str::to_owned)
}

/// Removes a pin, if it is there.
pub(crate) fn discard(pin: &Path) -> Result<()> {
    match fs::remove_file(pin) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", pin.display()))
        }
        _ => Ok(()),
    }
}

/// The name of a pin.
pub(crate) fn name(pin: &Path) -> String {
    pin.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The entries of a directory; none if it does not exist.
pub(crate) fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("{} cannot be read", directory.display()))?,
    };
    entries.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_names_its_namespace() {
        for name in ["ingress-7-eth0", "filter-egress-7-a-b", "xdpnative-7-3", "egress-7-eth0 5"] {
            assert_eq!(namespace(name), Some(7), "{name}");
        }
        for name in ["sockops", "release-of-7", "filter-"] {
            assert_eq!(namespace(name), None, "{name}");
        }
    }
}
