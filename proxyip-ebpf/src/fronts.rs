//! The programs that are attached to the interfaces of one namespace. Each notes its namespace, and calls the program that
//! does the work, which is loaded once for all namespaces.
//!
//! Nothing here comes from the library: its maps and functions would be parts of this object.
#![allow(missing_docs, reason = "the entry points' documents do not survive their macros")]
#![allow(clippy::needless_pass_by_value, reason = "the macros hand over the context by value")]
#![allow(unreachable_pub, reason = "nothing is reachable from outside a program")]

use aya_ebpf::{
    EbpfContext, Global,
    bindings::{tcx_action_base::TCX_NEXT, xdp_action::XDP_PASS},
    btf_maps::{PerCpuArray, ProgramArray},
    macros::{btf_map, classifier, xdp},
    programs::{TcContext, XdpContext},
};
use proxyip_common::settings::front;

type Programs = ProgramArray<{ front::COUNT as usize }>;

/// The namespace's entry of `NAMESPACES`; set before loading.
#[unsafe(no_mangle)]
static NAMESPACE: Global<u32> = Global::new(0);

/// The map that the library has by this name.
#[btf_map]
static PLACES: PerCpuArray<u32, { front::COUNT as usize }> = PerCpuArray::new();

/// The map that the library has by this name.
#[btf_map]
static PROGRAMS: Programs = Programs::new();

/// The map that the library has by this name.
#[btf_map]
static XDP_PROGRAMS: Programs = Programs::new();

/// TC ingress.
#[classifier]
pub fn proxyip_ingress(ctx: TcContext) -> i32 {
    call(&ctx, &PROGRAMS, front::INGRESS);
    TCX_NEXT
}

/// TC egress.
#[classifier]
pub fn proxyip_egress(ctx: TcContext) -> i32 {
    call(&ctx, &PROGRAMS, front::EGRESS);
    TCX_NEXT
}

/// XDP.
#[xdp(frags)]
pub fn proxyip_xdp(ctx: XdpContext) -> u32 {
    call(&ctx, &XDP_PROGRAMS, front::XDP);
    XDP_PASS
}

/// Calls the program at this place of `programs`; returns if there is none.
///
/// The place is empty only if somebody has removed the map's pin while no agent ran: the kernel empties it then. Nothing
/// here knows which ports are guarded, and everybody's frames go on.
#[inline(always)]
fn call(ctx: &impl EbpfContext, programs: &Programs, program: u32) {
    if let Some(place) = PLACES.get_ptr_mut(program) {
        // SAFETY: this CPU's own. Nothing comes between this and the program that reads it.
        unsafe { *place = NAMESPACE.load() };
        // SAFETY: the program gets the same context, and nothing here has to be dropped.
        unsafe { programs.tail_call(ctx, program) };
    }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
