//! Programs that help to measure the others. They are in no agent.
//!
//! Nothing here comes from the library: its maps and functions would be parts of this object.
#![allow(missing_docs, reason = "the entry points' documents do not survive their macros")]
#![allow(clippy::needless_pass_by_value, reason = "the macros hand over the context by value")]
#![allow(unreachable_pub, reason = "nothing is reachable from outside a program")]

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_CSUM_LEVEL_INC, BPF_CSUM_LEVEL_RESET, tcx_action_base::TCX_NEXT,
        xdp_action::XDP_DROP,
    },
    btf_maps::{Array, HashMap, ProgramArray},
    helpers::{bpf_csum_level, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes},
    macros::{btf_map, classifier, xdp},
    programs::{TcContext, XdpContext},
};

/// Bytes that are put back at most: the headers of any frame.
const HEADERS: usize = 128;

/// What [`again`] returns if it cannot do its work; no other program returns this.
const FAILED: i32 = -77;

/// A frame as it was. Measuring programs write it.
#[repr(C)]
pub struct Before {
    /// Length of the frame.
    length: u32,
    /// How many of its first bytes are put back.
    restored: u32,
    /// `tc_index`.
    index: u32,
    /// The device has verified the checksum.
    verified: u32,
    bytes: [u8; HEADERS],
}

/// The frame of the measured program.
#[btf_map]
static BEFORE: Array<Before, 1> = Array::new();

/// The measured program.
#[btf_map]
static MEASURED: ProgramArray<1> = ProgramArray::new();

/// Addresses and ports to anything. It has no entry.
#[btf_map]
static TABLE: HashMap<[u32; 3], u64, 1024> = HashMap::new();

/// Makes the frame what it was before the last run, and calls the measured program: the kernel gives every repeated run
/// the same packet.
#[classifier]
pub fn again(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    let Some(before) = BEFORE.get(0) else { return FAILED };
    // From 1 to as many as there are. As a comparison, Linux 6.1 would not know the lower bound.
    let restored = (before.restored.wrapping_sub(1) & (HEADERS as u32 - 1)) + 1;
    // SAFETY: fields of the context, and no more bytes than there are.
    unsafe {
        if bpf_skb_change_tail(skb, before.length, 0) != 0 {
            return FAILED;
        }
        if bpf_skb_store_bytes(skb.cast(), 0, before.bytes.as_ptr().cast(), restored, 0) != 0 {
            return FAILED;
        }
        verify(skb, before.verified != 0);
        (*skb).tc_index = before.index;
        (*skb).mark = 0;
        MEASURED.tail_call(&ctx, 0);
    }
    FAILED
}

/// Says whether the device has verified the checksum.
#[inline(always)]
unsafe fn verify(skb: *mut __sk_buff, verified: bool) {
    // SAFETY: the caller's skb.
    unsafe {
        bpf_csum_level(skb, BPF_CSUM_LEVEL_RESET.into());
        if verified {
            bpf_csum_level(skb, BPF_CSUM_LEVEL_INC.into());
        }
    }
}

/// The floor of a flood: what sending and the link cost, and one run of a program.
#[xdp]
pub fn drop_at_once(_ctx: XdpContext) -> u32 {
    XDP_DROP
}

/// The floor: what it costs is what measuring costs.
#[classifier]
pub fn nothing(_ctx: TcContext) -> i32 {
    TCX_NEXT
}

/// Sixteen units. One loads the headers of an IPv4 segment, and looks up its flow in a hash table. Where in the table a
/// single flow is looked for, and where in memory the program lies, would matter too much.
#[classifier]
pub fn reference(ctx: TcContext) -> i32 {
    for number in 0..UNITS {
        match unit(&ctx, number) {
            Some(true) => {}
            Some(false) | None => return FAILED,
        }
    }
    TCX_NEXT
}

/// How many units [`reference`] does.
const UNITS: u32 = 16;

/// Whether the flow with this number is absent, as it must be; `None` if the packet is too short.
#[inline(always)]
fn unit(ctx: &TcContext, number: u32) -> Option<bool> {
    const AT: u32 = 14;
    /// IPv4 and TCP, without options.
    const WORDS: usize = 10;
    let mut headers = [0_u32; WORDS];
    // SAFETY: as many bytes as there are.
    let loaded = unsafe {
        bpf_skb_load_bytes(
            ctx.skb.skb.cast(),
            AT,
            headers.as_mut_ptr().cast(),
            size_of::<[u32; WORDS]>() as u32,
        )
    };
    if loaded != 0 {
        return None;
    }
    let key = [headers[3], headers[4], headers[5].wrapping_add(number)];
    // SAFETY: the value is not used.
    Some(unsafe { TABLE.get(&key) }.is_none())
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
