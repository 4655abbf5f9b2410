//! What is made once and kept below `target/vm`.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::command::workspace_root;
use crate::directory::remove;

/// Where everything about guests is; removing it brings the archive's newest packages.
pub(super) fn directory() -> PathBuf {
    workspace_root().join("target/vm")
}

/// Makes sure that nobody changes a file that a guest has for a disk: an error while another xtask
/// has what this gives.
pub(super) fn lock() -> Result<File> {
    lock_in(&directory())
}

fn lock_in(directory: &Path) -> Result<File> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let path = directory.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another `cargo xtask vm` is at work in this checkout: wait for its end")
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// The directory of this name, which `make` fills unless that was done before, by the same recipe.
pub(super) fn made_once(
    name: &str,
    recipe: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    made_once_in(&directory(), name, recipe, make)
}

fn made_once_in(
    parent: &Path,
    name: &str,
    recipe: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let directory = parent.join(name);
    let stamp = directory.join("recipe");
    if fs::read_to_string(&stamp).is_ok_and(|made_by| made_by == recipe) {
        return Ok(directory);
    }
    remove(&directory)?;
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    make(&directory)?;
    // Last, so that something half made is made again.
    fs::write(&stamp, recipe).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_again_only_by_another_recipe() {
        let parent = tempfile::tempdir().unwrap();
        let make = |recipe: &str| {
            let mut made = false;
            made_once_in(parent.path(), "guest", recipe, |directory| {
                made = true;
                Ok(fs::write(directory.join(recipe), "")?)
            })
            .unwrap();
            made
        };
        assert!(make("one"));
        assert!(!make("one"));
        assert!(make("two"));
        assert!(!parent.path().join("guest/one").exists(), "the old content is still there");
    }

    #[test]
    fn one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let first = lock_in(&directory.path().join("vm")).unwrap();
        assert!(lock_in(&directory.path().join("vm")).is_err());
        drop(first);
        lock_in(&directory.path().join("vm")).unwrap();
    }

    #[test]
    fn what_failed_is_tried_again() {
        let parent = tempfile::tempdir().unwrap();
        let failed = made_once_in(parent.path(), "guest", "recipe", |_| bail!("no network"));
        assert!(failed.is_err());
        let mut made = false;
        made_once_in(parent.path(), "guest", "recipe", |_| {
            made = true;
            Ok(())
        })
        .unwrap();
        assert!(made);
    }
}
