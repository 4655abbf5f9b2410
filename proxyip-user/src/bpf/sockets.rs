//! The programs on sockets, and their places at the root of the cgroup hierarchy.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};
use aya::Ebpf;
use aya::programs::{CgroupSockAddr, SockOps};
use aya_obj::generated::bpf_attach_type::{
    self, BPF_CGROUP_GETSOCKOPT, BPF_CGROUP_INET4_GETPEERNAME, BPF_CGROUP_INET6_GETPEERNAME,
    BPF_CGROUP_SOCK_OPS,
};

use super::calls::{self, Target};
use super::links::Place;
use super::programs::{GETPEERNAME, GETSOCKOPT, Loaded, SOCK_OPS, program_of};

/// A program on sockets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketHook {
    /// Its name in the kernel object.
    program: &'static str,
    /// Its pin's name.
    pub(crate) pin: &'static str,
    attach_type: bpf_attach_type,
    /// What bpftool calls the place.
    pub(crate) label: &'static str,
}

static HOOKS: [SocketHook; 4] = [
    SocketHook {
        program: SOCK_OPS,
        pin: "sockops",
        attach_type: BPF_CGROUP_SOCK_OPS,
        label: "cgroup_sock_ops",
    },
    SocketHook {
        program: GETPEERNAME[0],
        pin: GETPEERNAME[0],
        attach_type: BPF_CGROUP_INET4_GETPEERNAME,
        label: "cgroup_inet4_getpeername",
    },
    SocketHook {
        program: GETPEERNAME[1],
        pin: GETPEERNAME[1],
        attach_type: BPF_CGROUP_INET6_GETPEERNAME,
        label: "cgroup_inet6_getpeername",
    },
    SocketHook {
        program: GETSOCKOPT,
        pin: "getsockopt",
        attach_type: BPF_CGROUP_GETSOCKOPT,
        label: "cgroup_getsockopt",
    },
];

/// Those of every agent.
pub(crate) fn always() -> &'static [SocketHook] {
    &HOOKS[..3]
}

/// With that of the socket option, which comes last.
pub(crate) fn with_getsockopt() -> &'static [SocketHook] {
    &HOOKS
}

/// That of the socket option alone.
pub(crate) fn of_getsockopt() -> &'static SocketHook {
    &HOOKS[3]
}

impl SocketHook {
    /// The program, of an object in which it is loaded. That of the socket option has an object of its own.
    pub(crate) fn loaded(&self, ebpf: &mut Ebpf) -> Result<Loaded> {
        if self.attach_type == BPF_CGROUP_SOCK_OPS {
            let program: &mut SockOps = program_of(ebpf, self.program)?;
            Loaded::new(program.fd(), program.info())
        } else {
            let program: &mut CgroupSockAddr = program_of(ebpf, self.program)?;
            Loaded::new(program.fd(), program.info())
        }
    }

    /// Where it belongs. `root` is the root of the cgroup hierarchy.
    pub(crate) fn place<'a>(&self, root: &'a File) -> Result<Place<'a>> {
        let metadata = root.metadata().context("the root of the cgroup hierarchy is gone")?;
        let target = Target::Cgroup(root.as_fd());
        // A cgroup's id is the number of its inode.
        Ok(Place { target, id: metadata.ino(), attach_type: self.attach_type })
    }

    /// Makes sure that whoever is attached there lets others in beside it.
    ///
    /// # Errors
    /// Names the program that does not, and what to do.
    pub(crate) fn check(&self, root: &File) -> Result<()> {
        let label = self.label;
        let attached = calls::attached(Target::Cgroup(root.as_fd()), self.attach_type)
            .with_context(|| format!("the kernel does not say what is attached as {label}"))?;
        let programs: Vec<_> = attached.programs.iter().copied().map(named).collect();
        ensure!(
            !attached.exclusive,
            "{} is attached to the root of the cgroup hierarchy as {label} and lets no other in: let its owner attach it \
             with BPF_F_ALLOW_MULTI (bpftool cgroup attach … multi), or detach it",
            programs.join(", ")
        );
        Ok(())
    }
}

/// A program as people know it: its id, and its name.
pub(crate) fn named(program: u32) -> String {
    match calls::program_name(program) {
        Some(name) => format!("program {program} ({name})"),
        None => format!("program {program}"),
    }
}
