//! Packets, as the kernel hands them to a program.

use core::{ffi::c_void, mem::MaybeUninit};

use crate::kernel::{
    bindings::{__sk_buff, BPF_CSUM_LEVEL_QUERY},
    helpers::{bpf_csum_level, bpf_skb_load_bytes},
    programs::TcContext,
};

/// `pkt_type` of a frame for this host's Ethernet address (`include/uapi/linux/if_packet.h`).
const PACKET_HOST: u32 = 0;

/// What is asked of a frame in the kernel. Those who read frames and decide know no more of them than this, so that another kind of
/// context than an skb's can come.
pub trait Packet {
    /// Length of the frame in bytes.
    fn length(&self) -> usize;
    /// The address of its first byte, and the one behind the last that is at hand.
    fn at_hand(&self) -> (usize, usize);
    /// Its Ethernet type in network byte order, in the lower half.
    fn protocol(&self) -> u32;
    /// Its VLAN's tag; 0 if it has none.
    fn vlan(&self) -> u32;
    /// It is for this host's Ethernet address.
    fn is_for_this_host(&self) -> bool;
    /// The device or GRO has verified its checksum, or it was never on a wire and has none.
    fn is_verified(&self) -> bool;
    /// The number of its interface.
    fn interface(&self) -> u32;
    /// The value at an offset; `None` if the frame ends before. For numbers, and what consists of them.
    fn load_at<T>(&self, at: usize) -> Option<T>;
    /// Copies bytes to an address; false if the frame ends before.
    ///
    /// # Safety
    /// `to` is valid for `length` bytes.
    unsafe fn load_bytes(&self, at: usize, to: *mut u8, length: usize) -> bool;
    /// The context, for helpers.
    fn context(&self) -> *mut c_void;
    /// The skb, if the kernel has made one.
    fn skb(&self) -> Option<*mut __sk_buff>;
}

/// A packet that the kernel has as an skb.
pub trait Buffered: Packet {
    /// The skb, for functions that the verifier walks by themselves: their types must be in BTF.
    fn buffer(&self) -> *mut __sk_buff;
    /// Sets bits of its mark, for the rules of a firewall.
    fn add_mark(&self, bits: u32);
}

impl Packet for TcContext {
    #[inline(always)]
    fn length(&self) -> usize {
        self.len() as usize
    }

    #[inline(always)]
    fn at_hand(&self) -> (usize, usize) {
        (self.data(), self.data_end())
    }

    #[inline(always)]
    fn protocol(&self) -> u32 {
        // SAFETY: a field of the context, which the verifier turns into a load from the skb.
        unsafe { (*raw(self)).protocol }
    }

    #[inline(always)]
    fn vlan(&self) -> u32 {
        // SAFETY: a field of the context.
        unsafe { (*raw(self)).vlan_tci }
    }

    #[inline(always)]
    fn is_for_this_host(&self) -> bool {
        // SAFETY: a field of the context.
        unsafe { (*raw(self)).pkt_type == PACKET_HOST }
    }

    #[inline(always)]
    fn is_verified(&self) -> bool {
        let skb = raw(self);
        // SAFETY: a field of the context, and a question that changes nothing.
        unsafe { (*skb).gso_size != 0 || bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY.into()) >= 0 }
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: a field of the context.
        unsafe { (*raw(self)).ifindex }
    }

    #[inline(always)]
    fn load_at<T>(&self, at: usize) -> Option<T> {
        load_at(raw(self), at)
    }

    #[inline(always)]
    unsafe fn load_bytes(&self, at: usize, to: *mut u8, length: usize) -> bool {
        // SAFETY: the caller's promise.
        unsafe { load_bytes(raw(self), at, to, length) }
    }

    #[inline(always)]
    fn context(&self) -> *mut c_void {
        raw(self).cast()
    }

    #[inline(always)]
    fn skb(&self) -> Option<*mut __sk_buff> {
        Some(raw(self))
    }
}

impl Buffered for TcContext {
    #[inline(always)]
    fn buffer(&self) -> *mut __sk_buff {
        raw(self)
    }

    #[inline(always)]
    fn add_mark(&self, bits: u32) {
        // SAFETY: a field of the context.
        unsafe { (*raw(self)).mark |= bits };
    }
}

/// The value at an offset of an skb; `None` if it ends before. For numbers, and what consists of them.
#[inline(always)]
#[expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "the helper, which the verifier checks, dereferences it"
)]
pub fn load_at<T>(skb: *mut __sk_buff, at: usize) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as many bytes as the value has.
    if unsafe { load_bytes(skb, at, value.as_mut_ptr().cast(), size_of::<T>()) } {
        // SAFETY: written by the helper; any bytes are a value of it.
        Some(unsafe { value.assume_init() })
    } else {
        None
    }
}

/// Copies bytes of an skb to an address; false if it ends before.
///
/// # Safety
/// `to` is valid for `length` bytes.
#[inline(always)]
pub unsafe fn load_bytes(skb: *mut __sk_buff, at: usize, to: *mut u8, length: usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe { bpf_skb_load_bytes(skb.cast(), at as u32, to.cast(), length as u32) == 0 }
}

/// The context as the raw helpers want it.
#[inline(always)]
pub fn raw(ctx: &TcContext) -> *mut __sk_buff {
    ctx.skb.skb
}

/// In `tc_index` of the clone that carries the payload. A clone that finds no socket must not count as a first
/// segment again. Otherwise a connection that TCP refuses would come back forever.
pub const QUEUED_MARK: u32 = 0x5050;

/// Whether this skb is the clone that this program queued; takes the mark off it.
#[inline(always)]
pub fn take_queued_mark(ctx: &TcContext) -> bool {
    let skb = raw(ctx);
    // SAFETY: a field of the context.
    unsafe {
        let queued = (*skb).tc_index == QUEUED_MARK;
        if queued {
            (*skb).tc_index = 0;
        }
        queued
    }
}
