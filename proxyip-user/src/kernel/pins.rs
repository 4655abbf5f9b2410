//! Where things are pinned, and removing them.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

/// Maps of another layout are not adopted: raise this whenever a type in them changes.
const LAYOUT: u32 = 1;

/// What the directories of maps are called, before the number of their layout.
const MAPS: &str = "maps-";

/// Where maps are pinned.
pub(super) fn map_directory(pin_path: &Path) -> PathBuf {
    pin_path.join(format!("{MAPS}{LAYOUT}"))
}

/// Where links are pinned.
pub(super) fn link_directory(pin_path: &Path) -> PathBuf {
    pin_path.join("links")
}

/// Detaches everything and removes all pins, and nothing else.
///
/// # Errors
/// If the directory is not on a BPF file system or holds what is not ours; or if a pin cannot be removed.
pub fn detach(pin_path: &Path) -> Result<()> {
    let entries = match fs::read_dir(pin_path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>),
    };
    let entries = entries.with_context(|| format!("{} cannot be read", pin_path.display()))?;
    let kind = statfs(pin_path).with_context(|| format!("{} is unusable", pin_path.display()))?;
    ensure!(
        kind.filesystem_type() == BPF_FS_MAGIC,
        "{} is not on a BPF file system: nothing is removed",
        pin_path.display()
    );
    let links = link_directory(pin_path);
    for entry in &entries {
        let ours = entry.path() == links
            || entry.file_name().as_encoded_bytes().starts_with(MAPS.as_bytes());
        ensure!(ours, "{} is not proxyip's: nothing is removed", entry.path().display());
    }
    // No connection may be handed over that the programs on sockets do not see: they go last of the links,
    // and the maps after all that use them.
    let mut pins = list(&links)?;
    pins.sort_by_key(|pin| !name(pin).starts_with("ingress"));
    for pin in pins {
        fs::remove_file(&pin).with_context(|| format!("{} cannot be removed", pin.display()))?;
    }
    for entry in entries {
        let directory = entry.path();
        for pin in list(&directory)? {
            fs::remove_file(&pin)
                .with_context(|| format!("{} cannot be removed", pin.display()))?;
        }
        fs::remove_dir(&directory)
            .with_context(|| format!("{} cannot be removed", directory.display()))?;
    }
    fs::remove_dir(pin_path).with_context(|| format!("{} cannot be removed", pin_path.display()))
}

fn name(pin: &Path) -> String {
    pin.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The pins in a directory; none if there is no such.
fn list(directory: &Path) -> Result<Vec<PathBuf>> {
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
    fn nothing_is_removed_from_an_ordinary_directory() {
        let directory = tempfile::tempdir().unwrap();
        let precious = directory.path().join("links");
        fs::create_dir(&precious).unwrap();
        let error = detach(directory.path()).unwrap_err().to_string();
        assert!(error.contains("not on a BPF file system"), "{error}");
        assert!(precious.exists());
    }

    #[test]
    fn nothing_pinned_is_nothing_to_do() {
        detach(Path::new("/sys/fs/bpf/proxyip-of-nobody")).unwrap();
    }
}
