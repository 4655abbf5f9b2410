//! Keeps two agents from working on the same pinned programs.
//!
//! The lock is on the directory of the pins itself. A file elsewhere would not do: agents in containers may see
//! different `/run` directories, but the same pins. The lock ends with the process, even if it is killed.

use std::fs::{self, File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

/// Held while the agent lives; does not leave an empty directory behind.
#[derive(Debug)]
pub struct AgentLock {
    _directory: File,
    path: PathBuf,
}

impl Drop for AgentLock {
    fn drop(&mut self) {
        // Fails, as it should, if anything is pinned.
        fs::remove_dir(&self.path).ok();
    }
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds the lock.
    #[error("{} runs on {} already; stop it first", holder(*pid), path.display())]
    Held {
        /// Process id of the other agent, if it can be seen from here.
        pid: Option<u32>,
        /// The directory of the pins.
        path: PathBuf,
    },
    /// The directory cannot be made or locked.
    #[error("cannot lock {}; is a BPF file system mounted there (mount -t bpf bpf /sys/fs/bpf)?", path.display())]
    Unusable {
        /// The directory of the pins.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or("another agent".into(), |pid| format!("another agent, process {pid},"))
}

impl AgentLock {
    /// Takes the lock of `pin_path`. Makes the directory if it does not exist.
    ///
    /// # Errors
    /// At once, if another process holds it.
    pub fn take(pin_path: &Path) -> Result<Self, LockError> {
        let unusable = |source| LockError::Unusable { path: pin_path.into(), source };
        loop {
            fs::create_dir_all(pin_path).map_err(unusable)?;
            let directory = File::open(pin_path).map_err(unusable)?;
            match directory.try_lock() {
                Ok(()) if is_still(&directory, pin_path) => {
                    return Ok(Self { _directory: directory, path: pin_path.into() });
                }
                // Whoever had the lock has removed the directory meanwhile.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let pid = find_holder(&directory);
                    return Err(LockError::Held { pid, path: pin_path.into() });
                }
                Err(TryLockError::Error(source)) => return Err(unusable(source)),
            }
        }
    }
}

/// The process that holds the lock of `pin_path`, if it is in this PID namespace. Takes and makes nothing.
#[must_use]
pub fn holder_of(pin_path: &Path) -> Option<u32> {
    find_holder(&File::open(pin_path).ok()?)
}

/// Whether `path` still leads to this open directory.
fn is_still(directory: &File, path: &Path) -> bool {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    match (directory.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => identity(open) == identity(named),
        _ => false,
    }
}

/// The process that has the lock, from `/proc/locks` (`proc_locks(5)`).
fn find_holder(directory: &File) -> Option<u32> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let metadata = directory.metadata().ok()?;
    let device = metadata.dev();
    let inode = format!("{:02x}:{:02x}:{}", major(device), minor(device), metadata.ino());
    locks.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, "WRITE", pid, at, ..] if at == inode => pid.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pins");
        let first = AgentLock::take(&path).unwrap();
        let Err(LockError::Held { pid, .. }) = AgentLock::take(&path) else {
            panic!("taken twice")
        };
        assert_eq!(pid, Some(std::process::id()));
        assert_eq!(holder_of(&path), pid);
        drop(first);
        assert_eq!(holder_of(&path), None);
        AgentLock::take(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_with_pins_stays() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("pin"), "").unwrap();
        drop(AgentLock::take(directory.path()).unwrap());
        assert!(directory.path().join("pin").exists());
    }
}
