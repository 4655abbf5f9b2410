//! The helpers for frames before there is an skb (<https://elixir.bootlin.com/linux/v6.12/source/net/core/filter.c>).

#![allow(
    clippy::missing_safety_doc,
    reason = "the same for all: contexts and buffers are valid, as the verifier asks"
)]

use core::ffi::c_void;
use std::slice;

use super::{
    bindings::xdp_md,
    frame::{ETHERNET, Frame},
    numbers::{EINVAL, ENOMEM},
    state,
};

/// How many bytes a frame can grow to: a page, without what the kernel keeps in it.
const ROOM: usize = 3520;

/// Length of the frame in bytes.
pub unsafe fn bpf_xdp_get_buff_len(xdp_md: *mut xdp_md) -> u64 {
    // SAFETY: the context is a frame's.
    unsafe { Frame::of(xdp_md.cast()) }.bytes().len() as u64
}

/// Copies bytes out of a frame.
pub unsafe fn bpf_xdp_load_bytes(
    xdp_md: *mut xdp_md,
    offset: u32,
    buf: *mut c_void,
    len: u32,
) -> i64 {
    assert!(len > 0, "the verifier refuses a length of zero");
    // SAFETY: the buffer holds `len` bytes, and the context is a frame's.
    let (frame, to) = unsafe {
        (Frame::of(xdp_md.cast()), slice::from_raw_parts_mut(buf.cast::<u8>(), len as usize))
    };
    match frame.range(offset, len as usize) {
        Some(bytes) => {
            to.copy_from_slice(bytes);
            0
        }
        // The kernel leaves the buffer as it is.
        None => EINVAL,
    }
}

/// Copies bytes into a frame.
pub unsafe fn bpf_xdp_store_bytes(
    xdp_md: *mut xdp_md,
    offset: u32,
    buf: *mut c_void,
    len: u32,
) -> i64 {
    assert!(len > 0, "the verifier refuses a length of zero");
    // SAFETY: the buffer holds `len` bytes, and the context is a frame's.
    let (frame, from) = unsafe {
        (Frame::of(xdp_md.cast()), slice::from_raw_parts(buf.cast::<u8>(), len as usize))
    };
    if state::fails() {
        return EINVAL;
    }
    let Some(bytes) = frame.range(offset, from.len()) else { return EINVAL };
    bytes.copy_from_slice(from);
    0
}

/// Makes a frame longer or shorter.
pub unsafe fn bpf_xdp_adjust_tail(xdp_md: *mut xdp_md, delta: i32) -> i64 {
    // SAFETY: the context is a frame's.
    let frame = unsafe { Frame::of(xdp_md.cast()) };
    let length = frame.bytes().len().checked_add_signed(delta as isize);
    if state::fails() {
        return ENOMEM;
    }
    match length {
        Some(length) if (ETHERNET..=ROOM).contains(&length) => {
            frame.resize(length as u32);
            0
        }
        _ => EINVAL,
    }
}
