//! A veth that receives as a network card does.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::namespace::Namespace;

/// Commands of bpf(2).
pub(crate) const BPF_PROG_LOAD: libc::c_long = 5;
pub(crate) const BPF_LINK_CREATE: libc::c_long = 28;
/// `BPF_PROG_TYPE_XDP`.
const XDP: u32 = 6;
/// `BPF_XDP`, the attach type.
const ATTACH_XDP: u32 = 37;
/// Size of a zeroed `union bpf_attr` that every kernel takes.
pub(crate) const ATTRIBUTES: usize = 128;

/// While it lives, an interface polls for frames and hands them up in batches (NAPI). A veth does so only with an XDP
/// program. This one lets everything pass.
#[derive(Debug)]
pub struct Batches {
    _program: OwnedFd,
    _link: OwnedFd,
}

impl Batches {
    /// On this interface of this namespace.
    ///
    /// # Panics
    /// When the program cannot be loaded or attached.
    #[must_use]
    pub fn on(namespace: &Namespace, interface: &str) -> Self {
        Self::with_flags(namespace, interface, 0)
    }

    /// The same for frames of several buffers, such as jumbo frames: Linux 5.18 and later.
    ///
    /// # Panics
    /// When the program cannot be loaded or attached.
    #[must_use]
    pub fn of_jumbo_frames(namespace: &Namespace, interface: &str) -> Self {
        /// `BPF_F_XDP_HAS_FRAGS` (`linux/bpf.h`).
        const FRAGS: u32 = 1 << 5;
        Self::with_flags(namespace, interface, FRAGS)
    }

    fn with_flags(namespace: &Namespace, interface: &str, flags: u32) -> Self {
        // r0 = XDP_PASS; exit
        static PROGRAM: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];
        static LICENCE: &[u8; 4] = b"GPL\0";
        let mut load = vec![0; ATTRIBUTES];
        put(&mut load, 0, &XDP.to_ne_bytes());
        put(&mut load, 4, &2u32.to_ne_bytes());
        put(&mut load, 8, &(PROGRAM.as_ptr().addr() as u64).to_ne_bytes());
        put(&mut load, 16, &(LICENCE.as_ptr().addr() as u64).to_ne_bytes());
        put(&mut load, 44, &flags.to_ne_bytes());
        let program = bpf(BPF_PROG_LOAD, &mut load).expect("an XDP program");

        let link = namespace.enter(|| {
            let index = nix::net::if_::if_nametoindex(interface)?;
            let mut create = vec![0; ATTRIBUTES];
            let program = std::os::fd::AsRawFd::as_raw_fd(&program).cast_unsigned();
            put(&mut create, 0, &program.to_ne_bytes());
            put(&mut create, 4, &index.to_ne_bytes());
            put(&mut create, 8, &ATTACH_XDP.to_ne_bytes());
            bpf(BPF_LINK_CREATE, &mut create)
        });
        let link = link.unwrap_or_else(|error| panic!("XDP on {interface}: {error}"));
        Self { _program: program, _link: link }
    }
}

pub(crate) fn put(attributes: &mut [u8], at: usize, bytes: &[u8]) {
    attributes[at..at + bytes.len()].copy_from_slice(bytes);
}

/// bpf(2), for commands that return a descriptor.
pub(crate) fn bpf(command: libc::c_long, attributes: &mut [u8]) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are as many bytes as is said, and what they point to is static.
    let outcome =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), attributes.len()) };
    let descriptor = i32::try_from(outcome).expect("a descriptor is small");
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
