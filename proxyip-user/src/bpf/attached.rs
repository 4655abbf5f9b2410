//! What is attached, found by its pins, and removing it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::direction::Direction;
use super::filters::Place;
use super::pins::{FILTER, MAPS, is_at_xdp, link_directory, list, match_directory, name};
use crate::host::namespace::Namespace;

/// Makes sure that everything in the directory is proxyip's; `false` if the directory does not exist.
///
/// # Errors
/// If it is not on a BPF file system, or holds what is not ours.
pub(crate) fn check(pin_path: &Path) -> Result<bool> {
    let entries = list(pin_path)?;
    if entries.is_empty() && !pin_path.exists() {
        return Ok(false);
    }
    let kind = statfs(pin_path).with_context(|| format!("{} is unusable", pin_path.display()))?;
    ensure!(
        kind.filesystem_type() == BPF_FS_MAGIC,
        "{} is not on a BPF file system: nothing is removed",
        pin_path.display()
    );
    let links = link_directory(pin_path);
    for entry in entries {
        let ours =
            entry == links || entry == match_directory(pin_path) || name(&entry).starts_with(MAPS);
        ensure!(ours, "{} is not proxyip's: nothing is removed", entry.display());
    }
    Ok(true)
}

/// Detaches everything and removes all pins of a directory that was checked.
///
/// # Errors
/// If something cannot be detached or removed.
pub(crate) fn remove_all(pin_path: &Path) -> Result<()> {
    let mut links = list(&link_directory(pin_path))?;
    sort(&mut links);
    links.iter().try_for_each(|pin| detach(pin))?;
    for directory in list(pin_path)? {
        for pin in list(&directory)? {
            fs::remove_file(&pin)
                .with_context(|| format!("{} cannot be removed", pin.display()))?;
        }
        fs::remove_dir(&directory)
            .with_context(|| format!("{} cannot be removed", directory.display()))?;
    }
    fs::remove_dir(pin_path).with_context(|| format!("{} cannot be removed", pin_path.display()))
}

/// Sorts the pins of links into the order of removal. At no moment may a connection be handed over without its way
/// back being translated, or without the programs on sockets seeing it. Nor may a SYN be answered at XDP whose connection
/// nobody hands over.
pub(crate) fn sort(links: &mut [PathBuf]) {
    links.sort_by_key(|pin| match direction(&name(pin)) {
        _ if is_at_xdp(&name(pin)) => 0,
        Some(Direction::Ingress) => 1,
        Some(Direction::Egress) => 2,
        None => 3,
    });
}

/// Of the link or filter that a pin with this name stands for; `None` if it is not one of an interface.
pub(crate) fn direction(name: &str) -> Option<Direction> {
    let name = name.strip_prefix(FILTER).unwrap_or(name);
    name.split('-').next().and_then(Direction::from_label)
}

/// Detaches what is pinned, and removes the pin.
pub(crate) fn detach(pin: &Path) -> Result<()> {
    if let Some(filter) = Place::from_name(&name(pin)) {
        filter.detach()?;
    }
    fs::remove_file(pin).with_context(|| format!("{} cannot be removed", pin.display()))
}

/// The namespace with this cookie. If the kernel has no cookies, the namespace that is served.
pub(crate) fn namespace(pin_path: &Path, cookie: u64) -> Option<Namespace> {
    if cookie != 0 {
        return Namespace::with_cookie(cookie);
    }
    let pins = list(&link_directory(pin_path)).ok()?;
    pins.iter().find_map(|pin| Place::from_name(&name(pin))?.namespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_removed_from_an_ordinary_directory() {
        let directory = tempfile::tempdir().unwrap();
        let precious = directory.path().join("links");
        fs::create_dir(&precious).unwrap();
        let error = check(directory.path()).unwrap_err().to_string();
        assert!(error.contains("not on a BPF file system"), "{error}");
        assert!(precious.exists());
    }

    #[test]
    fn links_are_removed_in_order() {
        let names = [
            "sockops",
            "filter-egress-1-ingress0",
            "egress-1-eth0",
            "filter-ingress-1-egress0",
            "xdpnative-1-7",
        ];
        let mut pins = names.map(PathBuf::from);
        sort(&mut pins);
        let sorted = [names[4], names[3], names[1], names[2], names[0]];
        assert_eq!(pins, sorted.map(PathBuf::from));
    }

    #[test]
    fn nothing_pinned_is_nothing_to_do() {
        assert!(!check(Path::new("/sys/fs/bpf/proxyip-of-nobody")).unwrap());
    }
}
