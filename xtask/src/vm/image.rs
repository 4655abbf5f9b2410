//! File systems for the guest, made from directories.

use std::{fs::File, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::command::{run, shell_line};

/// Makes an ext4 file system of what is in `directory`. What is not used of its size is not
/// written either.
pub(super) fn make(directory: &Path, image: &Path, gibibytes: u64) -> Result<()> {
    File::create(image)
        .and_then(|file| file.set_len(gibibytes << 30))
        .with_context(|| format!("cannot write {}", image.display()))?;
    let mut command = Command::new("mke2fs");
    // Guests only read it: there is nothing to journal.
    command.args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d"]).arg(directory).arg(image);
    run(&mut command)
}

/// Packs `directory` into an archive that the kernel takes as its initramfs.
pub(super) fn make_initramfs(directory: &Path, archive: &Path) -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-c", "find . | cpio --quiet -o -H newc >\"$0\""]).arg(archive);
    run(command.current_dir(directory)).with_context(|| shell_line(&command))
}
