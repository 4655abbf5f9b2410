//! Where the host's processes and its named network namespaces are seen. In a container both may be mounted elsewhere.
//!
//! They are the same for the whole process, as its mounts are. What a process asks of itself stays below `/proc/self`,
//! `/proc/thread-self` and `/proc/sys`: in the `/proc` of another PID namespace, `self` may be nobody.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use anyhow::{Context, Result, ensure};
use nix::sys::statfs::{PROC_SUPER_MAGIC, statfs};

use crate::config::{Agent, DEFAULT_NETNS_PATH};

/// `None` until somebody has said where they are.
static ROOTS: RwLock<Option<Roots>> = RwLock::new(None);

/// Both directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Roots {
    /// A proc file system.
    pub(crate) procfs: PathBuf,
    /// The directory of files that namespaces are mounted on.
    pub(crate) netns: PathBuf,
}

impl Roots {
    fn of(agent: &Agent) -> Self {
        Self { procfs: agent.procfs_path.clone(), netns: agent.netns_path.clone() }
    }
}

/// Where they are seen now.
pub(crate) fn now() -> Roots {
    let roots = ROOTS.read().unwrap_or_else(PoisonError::into_inner).clone();
    roots.unwrap_or_else(|| Roots::of(&Agent::default()))
}

/// From now on they are seen where a configuration says.
pub(crate) fn follow(agent: &Agent) {
    *ROOTS.write().unwrap_or_else(PoisonError::into_inner) = Some(Roots::of(agent));
}

/// Makes sure that both paths lead to what they name.
///
/// # Errors
/// Names the mount that is missing.
pub(crate) fn check(agent: &Agent) -> Result<()> {
    let Roots { procfs, netns } = Roots::of(agent);
    let shown = procfs.display();
    let mount = format!("in a container, mount the host's /proc at {shown}");
    let kind = statfs(&procfs).with_context(|| format!("agent.procfs_path: {shown}: {mount}"))?;
    ensure!(
        kind.filesystem_type() == PROC_SUPER_MAGIC,
        "agent.procfs_path: {shown} is no proc file system: {mount}"
    );
    // The host makes its own when the first namespace gets a name.
    let is_there = netns.is_dir() || netns == Path::new(DEFAULT_NETNS_PATH);
    let shown = netns.display();
    ensure!(
        is_there,
        "agent.netns_path: {shown} is no directory: in a container, mount the host's {DEFAULT_NETNS_PATH} there"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_that_is_missing_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let there = directory.path().to_owned();
        let nowhere = there.join("nowhere");
        let sound = Agent::default();
        let of = |procfs: &Path, netns: &Path| Agent {
            procfs_path: procfs.to_owned(),
            netns_path: netns.to_owned(),
            ..Agent::default()
        };
        check(&sound).unwrap();
        check(&of(Path::new("/proc/self/root/proc"), &there)).unwrap();
        for (agent, expected) in [
            (
                of(&there, &there),
                "is no proc file system: in a container, mount the host's /proc at ",
            ),
            (of(&nowhere, &there), "/nowhere: in a container, mount the host's /proc at "),
            (of(&sound.procfs_path, &nowhere), "mount the host's /run/netns there"),
        ] {
            let error = format!("{:#}", check(&agent).unwrap_err());
            assert!(error.starts_with("agent.") && error.contains(expected), "{error}");
        }
    }
}
