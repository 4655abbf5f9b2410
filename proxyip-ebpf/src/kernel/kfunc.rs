//! Kernel functions, called directly.
//!
//! The compiler has no notion of them. A call to a constant address compiles to a `call` instruction whose
//! immediate is that constant; before loading, the agent rewrites it to the function's BTF id
//! (`proxyip-user/src/bpf/object.rs`).

use core::ffi::c_void;

use proxyip_common::settings::KFUNC_ASSIGN;

use crate::kernel::{self, bindings::__sk_buff};

/// `struct bpf_tcp_req_attrs`
/// (<https://elixir.bootlin.com/linux/v6.9/source/include/net/tcp.h>, `bpf_tcp_req_attrs`).
#[repr(C)]
#[derive(Default)]
pub struct RequestAttributes {
    pub rcv_tsval: u32,
    pub rcv_tsecr: u32,
    pub mss: u16,
    pub rcv_wscale: u8,
    pub snd_wscale: u8,
    pub ecn_ok: u8,
    pub wscale_ok: u8,
    pub sack_ok: u8,
    pub tstamp_ok: u8,
    pub usec_ts_ok: u8,
    pub reserved: [u8; 3],
}

/// Makes a request socket from a validated cookie and gives it to the skb; Linux 6.9 and later.
///
/// # Safety
/// `listener` is a held pointer to a full socket, and `size` the size of `attributes`.
#[inline(always)]
pub unsafe fn bpf_sk_assign_tcp_reqsk(
    skb: *mut __sk_buff,
    listener: *mut c_void,
    attributes: *mut RequestAttributes,
    size: i32,
) -> i32 {
    type Function =
        unsafe extern "C" fn(*mut __sk_buff, *mut c_void, *mut RequestAttributes, i32) -> i32;
    // SAFETY: never called at this address; see the module's comment.
    let function: Function = unsafe { core::mem::transmute(kernel::function(KFUNC_ASSIGN)) };
    // SAFETY: the caller's promise.
    unsafe { function(skb, listener, attributes, size) }
}
