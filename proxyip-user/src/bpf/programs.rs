//! The programs of the kernel object: their names, and those that are loaded.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::{ProgramError, ProgramFd, ProgramInfo};

pub(crate) const INGRESS: &str = "proxyip_ingress";
/// Where the kernel lacks the function that the other calls.
pub(crate) const INGRESS_BASIC: &str = "proxyip_ingress_basic";
pub(crate) const EGRESS: &str = "proxyip_egress";
/// In front of the ingress program, where an interface wants it.
pub(crate) const XDP: &str = "proxyip_xdp";
/// The same, behind the driver. It is for tests, and has nothing in front of it.
pub(crate) const XDP_GENERIC: &str = "proxyip_xdp_generic";
/// For rules of iptables.
pub(crate) const SET: &str = "proxyip_set";
/// For many lookups at once.
pub(crate) const LOOKUP: &str = "proxyip_lookup";
pub(crate) const SOCK_OPS: &str = "proxyip_sockops";
pub(crate) const GETPEERNAME: [&str; 2] = ["proxyip_getpeername4", "proxyip_getpeername6"];
/// Runs for every `getsockopt()` of the host, so that it is loaded only if it is wanted.
pub(crate) const GETSOCKOPT: &str = "proxyip_getsockopt";

/// A program of the object, typed.
pub(crate) fn program_of<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
{
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the kernel object has no program {name}"))?;
    program.try_into().with_context(|| format!("program {name} is of another kind"))
}

/// A loaded program: as much of it as attaching needs, even when the object is dropped.
#[derive(Debug)]
pub(crate) struct Loaded {
    descriptor: ProgramFd,
    /// As the kernel counts programs.
    pub(crate) id: u32,
}

impl Loaded {
    /// Of a program's descriptor and information, as the library's types of programs give them.
    pub(crate) fn new(
        descriptor: Result<&ProgramFd, ProgramError>,
        info: Result<ProgramInfo, ProgramError>,
    ) -> Result<Self> {
        Ok(Self { descriptor: descriptor?.try_clone()?, id: info?.id() })
    }

    /// The same program once more.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        let descriptor = self.descriptor.try_clone()?;
        Ok(Self { descriptor, id: self.id })
    }

    /// As the library's tables of programs take it.
    pub(crate) const fn descriptor(&self) -> &ProgramFd {
        &self.descriptor
    }
}

impl AsFd for Loaded {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
