//! What the programs know of the kernel: its helpers, maps and contexts. On the host it is a simulated one.

pub mod clock;
pub mod kfunc;
pub mod memory;
pub mod packet;
pub mod platform;
pub mod verified;
pub mod xdp;

#[cfg(target_arch = "bpf")]
pub use aya_ebpf::{EbpfContext, Global, bindings, btf_maps, helpers, macros, programs};
#[cfg(target_arch = "bpf")]
pub use aya_log_ebpf::{debug, trace};

#[cfg(not(target_arch = "bpf"))]
pub use crate::host::{
    EbpfContext, Global, bindings, btf_maps, function, has_messages, helpers, macros, offsets,
    programs,
};
#[cfg(not(target_arch = "bpf"))]
pub(crate) use crate::host::{debug, trace};

/// Where the kernel's structures have their fields: the agent finds it in the running kernel's BTF.
#[cfg(target_arch = "bpf")]
pub mod offsets {
    pub const USER_MSS: u32 = 0;
    pub const BACKLOG: u32 = 0;
    pub const MAX_BACKLOG: u32 = 0;
}

/// Address families (`include/linux/socket.h`).
pub const AF_INET: u8 = 2;
/// See [`AF_INET`].
pub const AF_INET6: u8 = 10;

/// The error number of a wrong argument.
pub const EINVAL: i32 = 22;

/// Whether the agent has asked for any messages. It sets the level before loading, so that the verifier leaves out what
/// makes none.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub fn has_messages() -> bool {
    use aya_log_ebpf::macro_support::{Level, level_enabled};
    level_enabled(Level::Debug)
}

/// The kernel function that a placeholder address stands for: the address itself, which the agent replaces.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub const fn function(address: u32) -> usize {
    address as usize
}
