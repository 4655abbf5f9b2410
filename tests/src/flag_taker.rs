//! Other software with a program on sockets, which overwrites the flags that all programs on sockets share.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};

use crate::napi::{ATTRIBUTES, BPF_LINK_CREATE, BPF_PROG_LOAD, bpf, put};

/// `BPF_PROG_TYPE_SOCK_OPS`.
const SOCK_OPS: u32 = 13;
/// `BPF_CGROUP_SOCK_OPS`, the attach type.
const ATTACH_SOCK_OPS: u32 = 3;
/// Its name, as the kernel tells it.
const NAME: &[u8] = b"taker_of_flags";

/// While it lives, the sockets of two ports have the flags of its program only, from when they are established.
#[derive(Debug)]
pub struct FlagTaker {
    _program: OwnedFd,
    _link: OwnedFd,
}

impl FlagTaker {
    /// The even one of the two ports; the other is the next.
    pub const PORT: u16 = 8470;

    /// Behind all programs that are attached now.
    ///
    /// # Panics
    /// When the program cannot be loaded or attached.
    #[must_use]
    pub fn start() -> Self {
        static PROGRAM: [u64; 9] = [
            // r2 = context->op; if r2 != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB goto end
            0x0000_0000_0000_1261,
            0x0000_0005_0005_0255,
            // r3 = context->local_port & !1; if r3 != PORT goto end
            0x0000_0000_0044_1361,
            0xffff_fffe_0000_0357,
            0x0000_2116_0002_0355,
            // bpf_sock_ops_cb_flags_set(context, BPF_SOCK_OPS_RTT_CB_FLAG)
            0x0000_0008_0000_02b7,
            0x0000_003b_0000_0085,
            // end: r0 = 1; exit
            0x0000_0001_0000_00b7,
            0x0000_0000_0000_0095,
        ];
        static LICENCE: &[u8; 4] = b"GPL\0";
        let mut load = vec![0; ATTRIBUTES];
        put(&mut load, 0, &SOCK_OPS.to_ne_bytes());
        put(&mut load, 4, &9u32.to_ne_bytes());
        put(&mut load, 8, &(PROGRAM.as_ptr().addr() as u64).to_ne_bytes());
        put(&mut load, 16, &(LICENCE.as_ptr().addr() as u64).to_ne_bytes());
        put(&mut load, 48, NAME);
        let program = bpf(BPF_PROG_LOAD, &mut load).expect("a program of type sock_ops");
        let cgroup = root_cgroup();
        let mut create = vec![0; ATTRIBUTES];
        put(&mut create, 0, &program.as_raw_fd().to_ne_bytes());
        put(&mut create, 4, &cgroup.as_raw_fd().to_ne_bytes());
        put(&mut create, 8, &ATTACH_SOCK_OPS.to_ne_bytes());
        let link = bpf(BPF_LINK_CREATE, &mut create).expect("a link to the root cgroup");
        Self { _program: program, _link: link }
    }
}

fn root_cgroup() -> File {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the mounts");
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| path.to_owned())
    });
    File::open(mount.expect("a cgroup v2")).expect("the root cgroup")
}
