//! What `getsockopt()` answers.
//!
//! The program runs for every option of every socket, behind the kernel's own answer: it changes that of one option, and
//! nothing else.

use core::ffi::c_void;

use proxyip_common::{
    flow::FlowRecord,
    socket_option::{INFO, LEVEL, SocketInfo},
};

use crate::{
    kernel::{bindings::bpf_sockopt, helpers::bpf_sk_storage_get, programs::SockoptContext},
    state::storage::SOCKETS,
};

/// Answers if the option is ours and the socket has a record.
#[inline(always)]
pub fn run(ctx: &SockoptContext) {
    let question = ctx.sockopt;
    // SAFETY: fields of the context.
    let (level, name) = unsafe { ((*question).level, (*question).optname) };
    if level == LEVEL && name == INFO && answer(question) {
        return;
    }
    leave(question);
}

/// Writes the answer; false if there is none, or no room for it.
#[inline(always)]
fn answer(question: *mut bpf_sockopt) -> bool {
    let Some(info) = record(question).and_then(SocketInfo::of) else { return false };
    // SAFETY: fields of the context, and a value of the kernel's own, which is aligned and ends at `optval_end`: that
    // lies behind what is written. The verifier wants the room compared like this.
    unsafe {
        let value = (*question).__bindgen_anon_2.optval.cast::<SocketInfo>();
        if value.wrapping_add(1).cast::<c_void>() > (*question).__bindgen_anon_3.optval_end {
            return false;
        }
        value.write(info);
        // Each by a store of its own, as the verifier wants.
        (&raw mut (*question).optlen).write_volatile(size_of::<SocketInfo>() as i32);
        (&raw mut (*question).retval).write_volatile(0);
    }
    true
}

/// The record in the socket's storage.
#[inline(always)]
fn record(question: *mut bpf_sockopt) -> Option<&'static FlowRecord> {
    let map: *mut c_void = core::ptr::from_ref(&SOCKETS).cast_mut().cast();
    // SAFETY: a socket of the context; the storage lives as long as it does, and that as long as the program runs.
    unsafe {
        let socket = (*question).__bindgen_anon_1.sk;
        let record = bpf_sk_storage_get(map, socket.cast(), core::ptr::null_mut(), 0);
        record.cast::<FlowRecord>().as_ref()
    }
}

/// Lets the kernel's own answer stand in the cases where the kernel would otherwise break it. Kernels copy back the
/// value, because programs may have written over it.
///
/// They fail with `EFAULT` if the length is more than programs can see of the value. Programs see one page at most;
/// <https://git.kernel.org/torvalds/c/29ebbba7d461> mends that for longer values, in Linux 6.5. They see less if the
/// caller only asks for the length, which `SO_GET_FILTER` and `NETLINK_LIST_MEMBERSHIPS` allow. Before 5.17, kernels
/// write zeros where they have refused. A length of zero says that there is nothing to copy.
#[inline(always)]
fn leave(question: *mut bpf_sockopt) {
    // SAFETY: fields of the context. The pointers are only subtracted.
    unsafe {
        let value = (*question).__bindgen_anon_2.optval as usize;
        let room = ((*question).__bindgen_anon_3.optval_end as usize).wrapping_sub(value);
        if (*question).retval != 0 || (*question).optlen > room as i32 {
            (*question).optlen = 0;
        }
    }
}
