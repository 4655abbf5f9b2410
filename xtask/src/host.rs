//! What the machine itself must offer before proxyip can be tried on it.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};
use nix::unistd::Uid;

use crate::{command::run, packages};

const BPFFS: &str = "/sys/fs/bpf";

/// Makes sure that real servers, and kernel programs that outlive the agent, can be tried here.
pub(crate) fn prepare(verb: &str) -> Result<()> {
    if !is_root() {
        bail!(
            "`cargo xtask {verb}` makes network namespaces and loads kernel programs: run it as root"
        );
    }
    packages::install_for_demo()?;
    mount_bpffs()
}

pub(crate) fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Mounts the file system of pinned kernel programs where everybody expects it.
fn mount_bpffs() -> Result<()> {
    let mounts =
        fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    if is_bpffs_mounted(&mounts) {
        return Ok(());
    }
    eprintln!("mounting bpffs at {BPFFS}");
    run(Command::new("mount").args(["-t", "bpf", "bpf", BPFFS])).context(
        "proxyip pins its kernel programs in bpffs, which needs a kernel with CONFIG_BPF_SYSCALL",
    )
}

fn is_bpffs_mounted(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(BPFFS) && fields.next() == Some("bpf")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_bpffs_at_its_usual_place_only() {
        assert!(is_bpffs_mounted("proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw,relatime 0 0\n"));
        assert!(is_bpffs_mounted("none /sys/fs/bpf bpf rw,nosuid,mode=700 0 0\n"));
        assert!(!is_bpffs_mounted("bpf /mnt/bpf bpf rw 0 0\n"));
        assert!(!is_bpffs_mounted("tmpfs /sys/fs/bpf tmpfs rw 0 0\n"));
        assert!(!is_bpffs_mounted(""));
    }
}
