//! The helpers that concern frames and time (<https://elixir.bootlin.com/linux/v6.9/source/net/core/filter.c>).

#![allow(
    clippy::missing_safety_doc,
    reason = "the same for all: contexts and buffers are valid, as the verifier asks"
)]

use core::ffi::c_void;
use std::slice;

pub use super::sockets::{
    bpf_sk_fullsock, bpf_sk_release, bpf_sk_storage_delete, bpf_sk_storage_get, bpf_skc_lookup_tcp,
    bpf_skc_to_mptcp_sock, bpf_skc_to_tcp_sock, bpf_tcp_sock,
};
pub use super::xdp::{
    bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use super::{
    bindings::{
        __sk_buff, BPF_CSUM_LEVEL_QUERY, BPF_F_INGRESS, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM,
        BPF_RB_AVAIL_DATA, bpf_fib_lookup as Lookup, bpf_redir_neigh,
        tcx_action_base::{TCX_DROP, TCX_REDIRECT},
    },
    frame::{Checksum, Frame, INTERFACE},
    numbers::{EACCES, EFAULT, EINVAL, ENOMEM, ENOTSUPP, add, fold, sum},
    state::{self, NAMESPACE_COOKIE, Redirect},
};

/// More than any offset in a frame.
const LARGEST_OFFSET: u32 = i32::MAX.cast_unsigned();
/// The longest frame that a program can make (`SKB_MAX_ALLOC`).
const LONGEST: u32 = 16_384;
/// What `bpf_csum_diff()` takes at most (`MAX_BPF_STACK`).
const LONGEST_DIFFERENCE: u32 = 512;

/// Copies bytes out of a frame.
pub unsafe fn bpf_skb_load_bytes(
    skb: *const c_void,
    offset: u32,
    to: *mut c_void,
    len: u32,
) -> i64 {
    assert!(len > 0, "the verifier refuses a length of zero");
    // SAFETY: the buffer holds `len` bytes, and the context is a frame's.
    let (frame, to) = unsafe {
        (Frame::of(skb.cast_mut().cast()), slice::from_raw_parts_mut(to.cast::<u8>(), len as usize))
    };
    match frame.range(offset, len as usize) {
        Some(bytes) if offset <= LARGEST_OFFSET => {
            to.copy_from_slice(bytes);
            0
        }
        _ => {
            to.fill(0);
            EFAULT
        }
    }
}

/// Copies bytes into a frame.
pub unsafe fn bpf_skb_store_bytes(
    skb: *mut __sk_buff,
    offset: u32,
    from: *const c_void,
    len: u32,
    flags: u64,
) -> i64 {
    assert!(len > 0, "the verifier refuses a length of zero");
    // SAFETY: the buffer holds `len` bytes, and the context is a frame's.
    let (frame, from) =
        unsafe { (Frame::of(skb), slice::from_raw_parts(from.cast::<u8>(), len as usize)) };
    let recompute = u64::from(BPF_F_RECOMPUTE_CSUM);
    if flags & !recompute != 0 {
        return EINVAL;
    }
    if offset > LARGEST_OFFSET || state::fails() {
        return EFAULT;
    }
    let Some(bytes) = frame.range(offset, from.len()) else { return EFAULT };
    let old = sum(bytes);
    bytes.copy_from_slice(from);
    if flags & recompute != 0 {
        frame.resum(offset, old, sum(from));
    }
    0
}

/// The difference that replacing bytes makes to a checksum.
pub unsafe fn bpf_csum_diff(
    from: *mut u32,
    from_size: u32,
    to: *mut u32,
    to_size: u32,
    seed: u32,
) -> i64 {
    if !(from_size | to_size).is_multiple_of(4) || from_size + to_size > LONGEST_DIFFERENCE {
        return EINVAL;
    }
    let sum_of = |at: *mut u32, size: u32| {
        if size == 0 {
            return 0;
        }
        // SAFETY: the buffer holds `size` bytes.
        sum(unsafe { slice::from_raw_parts(at.cast::<u8>(), size as usize) })
    };
    let (old, new) = (sum_of(from, from_size), sum_of(to, to_size));
    let old = if from_size == 0 { 0 } else { !old };
    i64::from(add(add(seed, old), new))
}

/// Whether the device has verified the checksum.
pub unsafe fn bpf_csum_level(skb: *mut __sk_buff, level: u64) -> i64 {
    assert_eq!(level, u64::from(BPF_CSUM_LEVEL_QUERY), "only asked for");
    // SAFETY: the context is a frame's.
    if unsafe { Frame::of(skb) }.checksum == Checksum::Unnecessary { 0 } else { EACCES }
}

/// Adds to the device's sum, if there is one.
pub unsafe fn bpf_csum_update(skb: *mut __sk_buff, csum: u32) -> i64 {
    // SAFETY: the context is a frame's.
    let frame = unsafe { Frame::of(skb) };
    if frame.checksum != Checksum::Complete {
        return ENOTSUPP;
    }
    frame.sum = add(frame.sum, csum);
    frame.sum.into()
}

/// Adapts a checksum in the frame to bytes that are replaced.
pub unsafe fn bpf_l4_csum_replace(
    skb: *mut __sk_buff,
    offset: u32,
    from: u64,
    to: u64,
    flags: u64,
) -> i64 {
    // SAFETY: the context is a frame's.
    let frame = unsafe { Frame::of(skb) };
    let size = flags & 0xf;
    assert_eq!(flags & u64::from(BPF_F_PSEUDO_HDR), 0, "not simulated");
    if flags & !0xf != 0 {
        return EINVAL;
    }
    if offset > 0xffff || offset % 2 == 1 || state::fails() {
        return EFAULT;
    }
    let partial = frame.checksum == Checksum::Partial;
    let Some(field) = frame.range(offset, 2) else { return EFAULT };
    let difference = match (size, from) {
        (0, 0) => to as u32,
        (4, _) => add(!(from as u32), to as u32),
        _ => return EINVAL,
    };
    if !partial {
        let old = u16::from_ne_bytes([field[0], field[1]]);
        let new = !fold(add(difference, !u32::from(old)).into());
        field.copy_from_slice(&new.to_ne_bytes());
    }
    0
}

/// Makes a frame shorter or longer.
pub unsafe fn bpf_skb_change_tail(skb: *mut __sk_buff, len: u32, flags: u64) -> i64 {
    // SAFETY: the context is a frame's.
    let frame = unsafe { Frame::of(skb) };
    if flags != 0 || (len as usize) < frame.shortest() || len > LONGEST {
        return EINVAL;
    }
    if state::fails() {
        return ENOMEM;
    }
    frame.resize(len);
    0
}

/// Sends a copy of the frame at once, or queues it for the interface's ingress.
pub unsafe fn bpf_clone_redirect(skb: *mut __sk_buff, ifindex: u32, flags: u64) -> i64 {
    if flags & !u64::from(BPF_F_INGRESS) != 0 || ifindex != INTERFACE {
        return EINVAL;
    }
    if state::fails() {
        return ENOMEM;
    }
    // SAFETY: the context is a frame's.
    let mut clone = Box::new(unsafe { Frame::of(skb) }.clone());
    // A clone has no socket.
    clone.request = None;
    if flags == 0 {
        state::transmit(clone);
    } else {
        state::with(|state| state.queued.push_back(clone));
    }
    0
}

/// Says where the frame goes when the program is through.
pub unsafe fn bpf_redirect(ifindex: u32, flags: u64) -> i64 {
    if flags & !u64::from(BPF_F_INGRESS) != 0 {
        return TCX_DROP.into();
    }
    assert_ne!(flags, 0, "what leaves is sent to a neighbour");
    state::with(|state| state.redirect = Some(Redirect::Ingress(ifindex)));
    TCX_REDIRECT.into()
}

/// Says that the frame is sent out of an interface when the program is through, to whom the routing table names.
pub unsafe fn bpf_redirect_neigh(
    ifindex: u32,
    params: *mut bpf_redir_neigh,
    plen: i32,
    flags: u64,
) -> i64 {
    assert!(params.is_null(), "the routing table is asked");
    if flags != 0 || plen != 0 {
        return TCX_DROP.into();
    }
    let redirect = Redirect::Neighbour(ifindex);
    state::with(|state| state.redirect = Some(redirect));
    TCX_REDIRECT.into()
}

/// The interface's MTU.
pub unsafe fn bpf_check_mtu(
    _ctx: *mut c_void,
    ifindex: u32,
    mtu_len: *mut u32,
    len_diff: i32,
    flags: u64,
) -> i64 {
    if flags != 0 || len_diff != 0 || ifindex != 0 {
        return EINVAL;
    }
    // SAFETY: a number that the program owns.
    unsafe { *mtu_len = state::with(|state| state.mtu) };
    0
}

/// Where the routing table sends a segment.
pub unsafe fn bpf_fib_lookup(_ctx: *mut c_void, params: *mut Lookup, plen: i32, flags: u32) -> i64 {
    if plen != size_of::<Lookup>() as i32 || flags != 0 {
        return EINVAL;
    }
    // SAFETY: the structure is initialised.
    assert_eq!(unsafe { (*params).ifindex }, INTERFACE, "the frame's interface");
    state::with(|state| state.route)
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub unsafe fn bpf_ktime_get_ns() -> u64 {
    state::with(|state| state.now_ns)
}

/// The network namespace's cookie.
pub unsafe fn bpf_get_netns_cookie(_ctx: *mut c_void) -> u64 {
    NAMESPACE_COOKIE
}

/// Copies an event into the ring buffer.
pub unsafe fn bpf_ringbuf_output(
    _ring: *mut c_void,
    data: *mut c_void,
    size: u64,
    _flags: u64,
) -> i64 {
    if state::with(|state| state.events_full) {
        return EACCES;
    }
    // SAFETY: the program's buffer holds `size` bytes.
    let event = unsafe { slice::from_raw_parts(data.cast::<u8>(), size as usize) }.to_vec();
    state::with(|state| state.events.push(event));
    0
}

/// How many bytes wait in the ring buffer.
pub unsafe fn bpf_ringbuf_query(_ring: *mut c_void, flags: u64) -> u64 {
    assert_eq!(flags, u64::from(BPF_RB_AVAIL_DATA), "only that is asked");
    state::with(|state| if state.events_full { u64::MAX } else { 0 })
}
