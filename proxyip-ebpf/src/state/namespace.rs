//! The network namespace that a program serves.
//!
//! The programs on interfaces are loaded once for all namespaces. In front of them each namespace has programs of its own,
//! as short as possible (`fronts.rs`): they note the namespace's place in [`PLACES`], and call the ones in [`PROGRAMS`]. All
//! other programs are loaded for one namespace, or ask for its cookie.

use proxyip_common::settings::{MAX_NAMESPACES, NamespaceSettings, front};

use crate::kernel::{
    Global,
    btf_maps::{Array, PerCpuArray, ProgramArray},
    clock::now,
    macros::btf_map,
};

/// Whether `bpf_get_netns_cookie()` works in socket programs (Linux 5.15); set before loading.
#[unsafe(no_mangle)]
pub static HAS_NETNS_COOKIE: Global<u8> = Global::new(1);

/// Which entry of [`NAMESPACES`] belongs to this instance of the program; set before loading.
#[unsafe(no_mangle)]
pub static NAMESPACE: Global<u32> = Global::new(0);

/// Which entry of [`PLACES`] says it instead, or [`front::NONE`]; set before loading.
#[unsafe(no_mangle)]
pub static FRONT: Global<u32> = Global::new(front::NONE);

/// Settings of each network namespace served.
#[btf_map]
pub static NAMESPACES: Array<NamespaceSettings, { MAX_NAMESPACES as usize }> = Array::new();

/// Which entry of [`NAMESPACES`] belongs to the packet that this CPU has at hand, for each of [`front`]. Each has its own,
/// because the ingress program may send a frame, which passes the egress program of another namespace meanwhile.
#[btf_map]
pub static PLACES: PerCpuArray<u32, { front::COUNT as usize }> = PerCpuArray::new();

/// The programs on interfaces, for each of [`front`]. The programs in front of them call them; the agent writes them here.
#[btf_map]
pub static PROGRAMS: ProgramArray<{ front::COUNT as usize }> = ProgramArray::new();

/// The same at XDP, at [`front::XDP`]: the kernel wants programs of one kind in each array.
#[btf_map]
pub static XDP_PROGRAMS: ProgramArray<{ front::COUNT as usize }> = ProgramArray::new();

/// The place of the namespace in [`NAMESPACES`].
#[inline(always)]
pub fn place() -> u32 {
    match FRONT.load() {
        front::NONE => NAMESPACE.load(),
        program => PLACES.get(program).map_or(MAX_NAMESPACES, |place| *place),
    }
}

/// The settings of the namespace.
#[inline(always)]
pub fn settings() -> Option<&'static NamespaceSettings> {
    NAMESPACES.get(place())
}

/// The clock of timestamps: in milliseconds, as the kernel's own sockets tick.
#[inline(always)]
pub fn clock(settings: &NamespaceSettings) -> u32 {
    ((now() / 1_000_000) as u32).wrapping_add(settings.timestamp_offset)
}
