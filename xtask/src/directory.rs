//! Removing what was made before.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result};

/// Removes a directory with all that is in it, if it exists.
pub(crate) fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}
