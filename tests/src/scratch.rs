//! Names and a directory of one's own, and the removal of what dead runs left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};

use crate::command::{attempt, run};
use crate::turn::{self, Turn};

/// Prefix of every namespace and directory; the process id of the run follows.
const PREFIX: &str = "pxt-";
/// Prefix of the agents' pin paths.
const PIN_PREFIX: &str = "proxyip-test-";
const BPF_FILE_SYSTEM: &str = "/sys/fs/bpf";

/// A unique name and a directory with that name, removed on drop (kept with `PROXYIP_TEST_KEEP=1`).
#[derive(Debug)]
pub struct Scratch {
    name: String,
    directory: PathBuf,
    _turn: Arc<Turn>,
}

impl Scratch {
    /// A name that no other test has, in this run or in another.
    #[must_use]
    pub fn new() -> Self {
        static STALE: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let turn = turn::of_this_test();
        STALE.call_once(|| remove(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir(&directory).expect("cannot make a temporary directory");
        Self { name, directory, _turn: turn }
    }

    /// The unique name, `pxt-PID-NUMBER`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory, readable by the servers' own users.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A path in the directory.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// Writes a file into the directory and returns its path as text for command lines.
    pub fn write(&self, file: &str, content: &str) -> String {
        let path = self.path(file);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path.display().to_string()
    }

    /// Where an agent pins its kernel objects.
    #[must_use]
    pub fn pin_path(&self) -> PathBuf {
        let unique = self.name.strip_prefix(PREFIX).expect("the name has the prefix");
        Path::new(BPF_FILE_SYSTEM).join(format!("{PIN_PREFIX}{unique}"))
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.pin_path());
        if std::env::var_os("PROXYIP_TEST_KEEP").is_some() {
            eprintln!("logs and captures are kept in {}", self.directory.display());
        } else {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Removes all that this very process made, for the moment a signal ends it.
pub fn remove_everything() {
    remove(|pid| pid == std::process::id());
}

/// Removes what the runs with a `chosen` process id left: namespaces and the processes in them, pinned objects and
/// directories.
fn remove(chosen: impl Fn(u32) -> bool) {
    let of_chosen_run = |name: &str, prefix: &str| {
        let pid = name.strip_prefix(prefix).and_then(|rest| rest.split('-').next()?.parse().ok());
        pid.is_some_and(&chosen)
    };
    for line in run("ip", &["netns", "list"]).lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        if of_chosen_run(name, PREFIX) {
            remove_namespace(name);
        }
    }
    let directories =
        [(PathBuf::from(BPF_FILE_SYSTEM), PIN_PREFIX), (std::env::temp_dir(), PREFIX)];
    for (parent, prefix) in directories {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| of_chosen_run(name, prefix)) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Ends every process in the namespace, then deletes it.
pub(crate) fn remove_namespace(name: &str) {
    let pids = attempt(Command::new("ip").args(["netns", "pids", name])).stdout;
    for pid in String::from_utf8_lossy(&pids).split_whitespace() {
        let _ = attempt(Command::new("kill").args(["-9", pid]));
    }
    let _ = attempt(Command::new("ip").args(["netns", "delete", name]));
}
