//! The network namespace that an instance of the programs serves.

use proxyip_common::settings::{MAX_NAMESPACES, NamespaceSettings};

use crate::kernel::{Global, btf_maps::Array, clock::now, macros::btf_map};

/// Whether `bpf_get_netns_cookie()` works in socket programs (Linux 5.15); set before loading.
#[unsafe(no_mangle)]
pub static HAS_NETNS_COOKIE: Global<u8> = Global::new(1);

/// Which entry of [`NAMESPACES`] belongs to this instance of the program; set before loading.
#[unsafe(no_mangle)]
pub static NAMESPACE: Global<u32> = Global::new(0);

/// Settings of each network namespace served.
#[btf_map]
pub static NAMESPACES: Array<NamespaceSettings, { MAX_NAMESPACES as usize }> = Array::new();

/// The settings of the namespace that this instance of the program serves.
#[inline(always)]
pub fn settings() -> Option<&'static NamespaceSettings> {
    NAMESPACES.get(NAMESPACE.load())
}

/// The clock of timestamps: in milliseconds, as the kernel's own sockets tick.
#[inline(always)]
pub fn clock(settings: &NamespaceSettings) -> u32 {
    ((now() / 1_000_000) as u32).wrapping_add(settings.timestamp_offset)
}
