//! Links to cgroups, by system calls: the library keeps the descriptor of a link of `getsockopt()` to itself, so that it
//! could not be pinned.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya_obj::generated::bpf_attach_type::BPF_CGROUP_GETSOCKOPT;
use aya_obj::generated::bpf_cmd::{self, BPF_LINK_CREATE, BPF_OBJ_PIN};

/// The beginning of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    program: RawFd,
    target: RawFd,
    attach_type: u32,
    flags: u32,
}

/// The beginning of `union bpf_attr` for `BPF_OBJ_PIN`.
#[repr(C)]
struct ObjectPin {
    path: u64,
    object: RawFd,
    flags: u32,
}

/// Attaches a loaded program for `getsockopt()` to a cgroup, until the link is closed or, if it is pinned, unpinned.
///
/// # Errors
/// Those of `bpf(2)`.
pub(crate) fn attach_getsockopt(program: impl AsFd, cgroup: impl AsFd) -> io::Result<OwnedFd> {
    let attributes = LinkCreate {
        program: program.as_fd().as_raw_fd(),
        target: cgroup.as_fd().as_raw_fd(),
        attach_type: BPF_CGROUP_GETSOCKOPT as u32,
        flags: 0,
    };
    let link = call(BPF_LINK_CREATE, &attributes)?;
    // SAFETY: a new descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

/// Pins a link.
///
/// # Errors
/// Those of `bpf(2)`.
pub(crate) fn pin(link: &OwnedFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes =
        ObjectPin { path: path.as_ptr().addr() as u64, object: link.as_raw_fd(), flags: 0 };
    call(BPF_OBJ_PIN, &attributes).map(|_| ())
}

fn call<T>(command: bpf_cmd, attributes: &T) -> io::Result<RawFd> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes. The path in them outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as u32, &raw const *attributes, size_of::<T>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(io::Error::other)
}
