//! The kernel function that makes a request socket.

use core::{ffi::c_void, slice};

use super::{
    bindings::__sk_buff,
    frame::Frame,
    numbers::{EINVAL, ENOMEM},
    sockets::{Kind, Request, socket},
    state,
};

/// `struct bpf_tcp_req_attrs`, as the kernel has it
/// (<https://elixir.bootlin.com/linux/v6.9/source/include/net/tcp.h>).
#[repr(C)]
pub struct RequestAttributes {
    _rcv_tsval: u32,
    _rcv_tsecr: u32,
    mss: u16,
    rcv_wscale: u8,
    snd_wscale: u8,
    ecn_ok: u8,
    wscale_ok: u8,
    sack_ok: u8,
    tstamp_ok: u8,
    _usec_ts_ok: u8,
    reserved: [u8; 3],
}

/// `bpf_sk_assign_tcp_reqsk()` (<https://elixir.bootlin.com/linux/v6.9/source/net/core/filter.c>).
pub unsafe extern "C" fn assign(
    skb: *mut __sk_buff,
    listener: *mut c_void,
    attributes: *mut RequestAttributes,
    size: i32,
) -> i32 {
    const LARGEST_SCALE: u8 = 14;
    // SAFETY: the context is a frame's, the program holds the listener, and the attributes are initialised.
    let (frame, listener, wanted) = unsafe { (Frame::of(skb), socket(listener), &*attributes) };
    // SAFETY: as many bytes as the structure has, without padding.
    let bytes =
        unsafe { slice::from_raw_parts(attributes.cast::<u8>(), size_of::<RequestAttributes>()) };
    let least = match frame.fields().protocol.to_ne_bytes() {
        [8, 0, ..] => 536,
        [0x86, 0xdd, ..] => 1280 - 60,
        _ => return EINVAL as i32,
    };
    let sysctls = state::with(|state| state.sysctls);
    let refused = size != bytes.len() as i32
        || wanted.reserved != [0; 3]
        || listener.kind() != Kind::Listening
        || wanted.mss < least
        || wanted.wscale_ok != 0
            && (!sysctls.window_scaling
                || wanted.snd_wscale > LARGEST_SCALE
                || wanted.rcv_wscale > LARGEST_SCALE)
        || wanted.sack_ok != 0 && !sysctls.sack
        || wanted.tstamp_ok != 0 && !sysctls.timestamps;
    if refused {
        return EINVAL as i32;
    }
    if state::fails() {
        return ENOMEM as i32;
    }
    frame.request = Some(Request { ecn: wanted.ecn_ok != 0 });
    0
}
