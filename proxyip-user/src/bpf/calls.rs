//! `bpf(2)` on links. The library keeps the descriptors of some links to itself, and does not say where a link is
//! attached, nor what else is attached there.

use std::ffi::CString;
use std::fs;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya_obj::generated::bpf_cmd::{
    self, BPF_BTF_GET_FD_BY_ID, BPF_LINK_CREATE, BPF_LINK_UPDATE, BPF_OBJ_GET,
    BPF_OBJ_GET_INFO_BY_FD, BPF_OBJ_PIN, BPF_PROG_GET_FD_BY_ID, BPF_PROG_QUERY,
};
use aya_obj::generated::bpf_link_type::{BPF_LINK_TYPE_TCX, BPF_LINK_TYPE_XDP};
use aya_obj::generated::{
    bpf_attach_type, bpf_btf_info, bpf_link_info, bpf_map_info, bpf_prog_info,
};

/// `BPF_F_ALLOW_MULTI`, `BPF_F_BEFORE` (`include/uapi/linux/bpf.h`).
const ALLOW_MULTI: u32 = 1 << 1;
const BEFORE: u32 = 1 << 3;
/// The most programs that a place has: `BPF_MPROG_MAX` and `BPF_CGROUP_MAX_PROGS`.
const MOST: usize = 64;

/// Where a program at XDP runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum XdpMode {
    /// In the driver.
    Native,
    /// Behind the driver.
    Generic,
}

impl XdpMode {
    pub(crate) const ALL: [Self; 2] = [Self::Native, Self::Generic];

    /// As surfaces and pins call it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    /// `XDP_FLAGS_DRV_MODE`, `XDP_FLAGS_SKB_MODE` (`include/uapi/linux/if_link.h`).
    const fn flags(self) -> u32 {
        match self {
            Self::Native => 1 << 2,
            Self::Generic => 1 << 1,
        }
    }
}

/// What programs are attached to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    /// The interface with this index, in the calling thread's network namespace.
    Interface(u32),
    /// The same, at XDP.
    Xdp(u32, XdpMode),
    Cgroup(BorrowedFd<'a>),
}

impl Target<'_> {
    fn raw(self) -> u32 {
        match self {
            Self::Interface(index) | Self::Xdp(index, _) => index,
            Self::Cgroup(directory) => directory.as_raw_fd().cast_unsigned(),
        }
    }
}

/// A link as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) id: u32,
    pub(crate) program: u32,
    /// The index of its interface or the id of its cgroup; 0 if it is detached.
    pub(crate) target: u64,
}

/// What is attached to a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attached {
    /// The ids of the programs, in the order in which they run.
    pub(crate) programs: Vec<u32>,
    /// They let no other program in beside them.
    pub(crate) exclusive: bool,
}

/// Which types a map has: a BTF object's number, and in it those of the key and the value. 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapTypes {
    pub(crate) btf: u32,
    pub(crate) key: u32,
    pub(crate) value: u32,
}

/// Each is the beginning of `union bpf_attr` for its command.
#[repr(C)]
struct LinkCreate {
    program: RawFd,
    target: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct LinkUpdate {
    link: RawFd,
    program: RawFd,
    flags: u32,
    old_program: u32,
}

/// For `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
struct Object {
    path: u64,
    descriptor: RawFd,
    flags: u32,
}

#[repr(C)]
struct Info {
    object: RawFd,
    length: u32,
    address: u64,
}

#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// Whole, because the kernel writes into it up to its end.
#[repr(C)]
struct Query {
    target: u32,
    attach_type: u32,
    flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    unused: u32,
    others: [u64; 3],
    revision: u64,
}

/// Attaches a loaded program, until the link is closed or, if it is pinned, unpinned. At an interface it comes before
/// all others that are there.
pub(crate) fn attach(
    program: BorrowedFd,
    target: Target,
    attach_type: bpf_attach_type,
) -> io::Result<OwnedFd> {
    let flags = match target {
        Target::Interface(_) => BEFORE,
        // There is room for one program.
        Target::Xdp(_, mode) => mode.flags(),
        // Links to cgroups take no flags: they always allow others beside them.
        Target::Cgroup(_) => 0,
    };
    let mut attributes = LinkCreate {
        program: program.as_raw_fd(),
        target: target.raw(),
        attach_type: attach_type as u32,
        flags,
    };
    descriptor(BPF_LINK_CREATE, &mut attributes)
}

/// Puts another program into a link, atomically.
pub(crate) fn update(link: BorrowedFd, program: BorrowedFd) -> io::Result<()> {
    let (link, program) = (link.as_raw_fd(), program.as_raw_fd());
    let mut attributes = LinkUpdate { link, program, flags: 0, old_program: 0 };
    call(BPF_LINK_UPDATE, &mut attributes).map(|_| ())
}

/// Pins a link, a program or a map.
pub(crate) fn pin(object: BorrowedFd, path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let path = name.as_ptr().addr() as u64;
    let mut attributes = Object { path, descriptor: object.as_raw_fd(), flags: 0 };
    call(BPF_OBJ_PIN, &mut attributes).map(|_| ())
}

/// What is pinned there.
pub(crate) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let path = name.as_ptr().addr() as u64;
    descriptor(BPF_OBJ_GET, &mut Object { path, descriptor: 0, flags: 0 })
}

/// How the kernel has a link now.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for what is no link. The kernel would describe a program in its place, and say nothing.
pub(crate) fn link(link: BorrowedFd) -> io::Result<Link> {
    let what = fs::read_link(format!("/proc/self/fd/{}", link.as_raw_fd()))?;
    // The one name if the descriptor comes from the link's creation, the other if from its pin or its number.
    if !["anon_inode:bpf_link", "anon_inode:bpf-link"].map(Path::new).contains(&&*what) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: all zero is a value of this structure of integers.
    let mut info: bpf_link_info = unsafe { zeroed() };
    read_info(link, &mut info)?;
    // SAFETY: every member of the union consists of integers, and the kernel has filled in the one of the link's type.
    let target = unsafe {
        if info.type_ == BPF_LINK_TYPE_TCX as u32 {
            info.__bindgen_anon_1.tcx.ifindex.into()
        } else if info.type_ == BPF_LINK_TYPE_XDP as u32 {
            info.__bindgen_anon_1.xdp.ifindex.into()
        } else {
            info.__bindgen_anon_1.cgroup.cgroup_id
        }
    };
    Ok(Link { id: info.id, program: info.prog_id, target })
}

/// What is attached to a place.
pub(crate) fn attached(target: Target, attach_type: bpf_attach_type) -> io::Result<Attached> {
    let mut programs = [0u32; MOST];
    let mut query = Query {
        target: target.raw(),
        attach_type: attach_type as u32,
        flags: 0,
        attach_flags: 0,
        programs: programs.as_mut_ptr().addr() as u64,
        count: u32::try_from(MOST).map_err(io::Error::other)?,
        unused: 0,
        others: [0; 3],
        revision: 0,
    };
    call(BPF_PROG_QUERY, &mut query)?;
    let count = usize::try_from(query.count).map_err(io::Error::other)?;
    let programs = programs.get(..count).unwrap_or(&programs).to_vec();
    let in_cgroup = matches!(target, Target::Cgroup(_));
    let exclusive = in_cgroup && !programs.is_empty() && query.attach_flags & ALLOW_MULTI == 0;
    Ok(Attached { programs, exclusive })
}

/// The name of a program, at most 15 bytes; `None` if it has none, or is gone.
pub(crate) fn program_name(id: u32) -> Option<String> {
    let program = descriptor(BPF_PROG_GET_FD_BY_ID, &mut ById { id, next: 0, flags: 0 }).ok()?;
    // SAFETY: all zero is a value of this structure of integers.
    let mut info: bpf_prog_info = unsafe { zeroed() };
    read_info(program.as_fd(), &mut info).ok()?;
    let bytes = info.name.iter().map(|byte| byte.cast_unsigned()).take_while(|byte| *byte != 0);
    let name: Vec<u8> = bytes.collect();
    (!name.is_empty()).then(|| String::from_utf8_lossy(&name).into_owned())
}

/// Which types a map has.
pub(crate) fn types_of_map(map: BorrowedFd) -> io::Result<MapTypes> {
    // SAFETY: all zero is a value of this structure of integers.
    let mut info: bpf_map_info = unsafe { zeroed() };
    read_info(map, &mut info)?;
    let (key, value) = (info.btf_key_type_id, info.btf_value_type_id);
    Ok(MapTypes { btf: info.btf_id, key, value })
}

/// The bytes of the BTF object with this number.
pub(crate) fn btf(id: u32) -> io::Result<Vec<u8>> {
    let object = descriptor(BPF_BTF_GET_FD_BY_ID, &mut ById { id, next: 0, flags: 0 })?;
    let mut bytes = Vec::<u8>::new();
    loop {
        // SAFETY: all zero is a value of this structure of integers.
        let mut info: bpf_btf_info = unsafe { zeroed() };
        info.btf = bytes.as_mut_ptr().addr() as u64;
        info.btf_size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        // The kernel says how long it is, and writes as much as there is room for.
        read_info(object.as_fd(), &mut info)?;
        if info.btf_size as usize <= bytes.len() {
            bytes.truncate(info.btf_size as usize);
            return Ok(bytes);
        }
        bytes.resize(info.btf_size as usize, 0);
    }
}

fn read_info<T>(object: BorrowedFd, info: &mut T) -> io::Result<()> {
    let length = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let address = (&raw mut *info).addr() as u64;
    let mut attributes = Info { object: object.as_raw_fd(), length, address };
    call(BPF_OBJ_GET_INFO_BY_FD, &mut attributes).map(|_| ())
}

fn descriptor<T>(command: bpf_cmd, attributes: &mut T) -> io::Result<OwnedFd> {
    let descriptor = call(command, attributes)?;
    // SAFETY: a new descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn call<T>(command: bpf_cmd, attributes: &mut T) -> io::Result<RawFd> {
    // SAFETY: the kernel reads and writes `size_of::<T>()` bytes. What the attributes point to outlives the call, and
    // has the length that they name.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as u32, &raw mut *attributes, size_of::<T>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel writes the revision at this place.
    #[test]
    fn a_query_is_laid_out_as_in_the_kernel() {
        assert_eq!(std::mem::offset_of!(Query, programs), 16);
        assert_eq!(std::mem::offset_of!(Query, revision), 56);
        assert_eq!(size_of::<Query>(), 64);
    }
}
