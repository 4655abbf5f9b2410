//! The root of the cgroup v2 hierarchy, where programs see the sockets of all processes.

use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use crate::host::mounts;

const KIND: &str = "cgroup2";
/// Each cgroup but the root has this file
/// (<https://docs.kernel.org/admin-guide/cgroup-v2.html#core-interface-files>).
const NOT_IN_ROOT: &str = "cgroup.type";

/// The root, open, and where it was found.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) directory: File,
    /// The place of a mount that leads to it.
    pub(crate) mount: PathBuf,
}

/// Finds the root of the hierarchy, wherever it is mounted.
///
/// In a cgroup namespace of its own, as in a container, a process sees a part of the hierarchy in place of the whole.
/// The root is found all the same.
///
/// # Errors
/// If cgroup v2 is not mounted, or the root cannot be reached from here.
pub(crate) fn root() -> Result<Root> {
    let mounts = mounts::of(Path::new("/proc/self")).context("the mounts cannot be read")?;
    let mounts = mounts.into_iter().filter(|mount| mount.kind == KIND).map(|mount| mount.path);
    choose(mounts.collect())
}

fn choose(mut mounts: Vec<PathBuf>) -> Result<Root> {
    if mounts.is_empty() {
        bail!("no cgroup v2 hierarchy is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified");
    }
    let mount = mounts.swap_remove(mounts.iter().position(|mount| is_root(mount)).unwrap_or(0));
    let directory = File::open(&mount);
    let directory = directory.with_context(|| format!("{} cannot be opened", mount.display()))?;
    if is_root(&mount) {
        return Ok(Root { directory, mount });
    }
    match by_handle(&directory) {
        Ok(root) => Ok(Root { directory: root, mount }),
        Err(error) => bail!(
            "{} is not the root of the cgroup hierarchy, but a part of it, and the root cannot be opened from here \
             ({error}): applications outside would see the load balancer. Start the agent with CAP_DAC_READ_SEARCH, or in \
             the host's cgroup namespace (docker run --cgroupns=host)",
            mount.display()
        ),
    }
}

fn is_root(directory: &Path) -> bool {
    let kind = statfs(directory).map(|statistics| statistics.filesystem_type());
    kind == Ok(CGROUP2_SUPER_MAGIC) && matches!(directory.join(NOT_IN_ROOT).try_exists(), Ok(false))
}

/// `struct file_handle` with the id of a cgroup.
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    id: [u8; 8],
}

/// Opens the root by its id, which the file system counts from. Ids do not know cgroup namespaces.
fn by_handle(mount: &File) -> io::Result<File> {
    /// `FILEID_KERNFS` (`include/linux/exportfs.h`).
    const KERNFS: i32 = 0xfe;
    const ROOT: u64 = 1;
    const _: () = assert!(offset_of!(Handle, id) == 8, "the id follows without a gap");
    let mut handle = Handle { bytes: 8, kind: KERNFS, id: ROOT.to_ne_bytes() };
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the kernel reads a handle of 8 bytes behind its own header, which is how `Handle` is laid out.
    let root =
        unsafe { libc::open_by_handle_at(mount.as_raw_fd(), (&raw mut handle).cast(), flags) };
    if root < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor, which nobody else has.
    let root = unsafe { File::from_raw_fd(root) };
    if is_root(Path::new(&format!("/proc/self/fd/{}", root.as_raw_fd()))) {
        Ok(root)
    } else {
        Err(io::Error::other("another cgroup has its id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_root_is_not_taken_for_it() {
        let error = choose(vec!["/proc".into()]).unwrap_err().to_string();
        assert!(error.starts_with("/proc is not the root of the cgroup hierarchy"), "{error}");
        let error = choose(Vec::new()).unwrap_err().to_string();
        assert!(error.starts_with("no cgroup v2 hierarchy is mounted"), "{error}");
    }
}
