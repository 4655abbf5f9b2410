//! Packets before the kernel has made an skb of them.

use core::{ffi::c_void, mem::MaybeUninit};

use crate::kernel::{
    bindings::{__sk_buff, xdp_md},
    helpers::{bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes},
    packet::Packet,
    programs::XdpContext,
};

/// Length of the Ethernet addresses, in front of tags and type.
pub const ADDRESSES: usize = 12;

/// Length of a tag.
const TAG: usize = 4;

/// `0x8100` and `0x88a8`, in network byte order.
const TAGS: [[u8; 2]; 2] = [[0x81, 0], [0x88, 0xa8]];

/// A frame. The outermost tag of a VLAN is no part of its bytes, as in an skb at TC: the stack takes it off there. It stays
/// where it is, and an answer has it too.
pub struct XdpFrame {
    ctx: *mut xdp_md,
    /// Length of its tag; 0 if it has none.
    tag: usize,
    vlan: u16,
    kind: [u8; 2],
    is_group: bool,
}

impl XdpFrame {
    /// The frame of this context; `None` if it is too short for a TCP segment, or its first bytes are not at hand.
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> Option<Self> {
        let (data, end) = (ctx.data(), ctx.data_end());
        if data + ADDRESSES + TAG + 2 > end {
            return None;
        }
        // SAFETY: before the end, as just checked.
        let (is_group, [kind, vlan, inner]) = unsafe {
            (*(data as *const u8) & 1 != 0, *((data + ADDRESSES) as *const [[u8; 2]; 3]))
        };
        let ctx = ctx.ctx;
        Some(if TAGS.contains(&kind) {
            Self { ctx, tag: TAG, vlan: u16::from_be_bytes(vlan), kind: inner, is_group }
        } else {
            Self { ctx, tag: 0, vlan: 0, kind, is_group }
        })
    }

    /// Where the byte at this offset really is.
    #[inline(always)]
    fn offset(&self, at: usize) -> u32 {
        (if at < ADDRESSES { at } else { at + self.tag }) as u32
    }

    /// Makes the frame this long; false if that is not possible, and then nothing has changed.
    #[inline(always)]
    pub fn resize(&self, length: usize) -> bool {
        let change = (length as i32).wrapping_sub(self.length() as i32);
        // SAFETY: the helper checks the length.
        change == 0 || unsafe { bpf_xdp_adjust_tail(self.ctx, change) } == 0
    }

    /// Copies bytes into the frame; false if it ends before.
    ///
    /// # Safety
    /// `from` is valid for `length` bytes.
    #[inline(always)]
    pub unsafe fn store_bytes(&self, at: usize, from: *const u8, length: usize) -> bool {
        let from = from.cast_mut().cast();
        // SAFETY: the caller's promise.
        unsafe { bpf_xdp_store_bytes(self.ctx, self.offset(at), from, length as u32) == 0 }
    }
}

impl Packet for XdpFrame {
    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: a question that changes nothing.
        (unsafe { bpf_xdp_get_buff_len(self.ctx) } as usize).wrapping_sub(self.tag)
    }

    #[inline(always)]
    fn at_hand(&self) -> (usize, usize) {
        let ctx = XdpContext::new(self.ctx);
        (ctx.data() + self.tag, ctx.data_end())
    }

    #[inline(always)]
    fn protocol(&self) -> u32 {
        u16::from_ne_bytes(self.kind).into()
    }

    #[inline(always)]
    fn vlan(&self) -> u32 {
        self.vlan.into()
    }

    /// Nobody knows this interface's address here. [`is_next`](crate::state::neighbours::is_next) compares it.
    #[inline(always)]
    fn is_for_this_host(&self) -> bool {
        !self.is_group
    }

    /// What a device has verified is not said here, nor whether it has to complete the checksum.
    #[inline(always)]
    fn is_verified(&self) -> bool {
        false
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        XdpContext::new(self.ctx).ingress_ifindex() as u32
    }

    #[inline(always)]
    fn load_at<T>(&self, at: usize) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: as many bytes as the value has.
        if unsafe { self.load_bytes(at, value.as_mut_ptr().cast(), size_of::<T>()) } {
            // SAFETY: written by the helper; any bytes are a value of it.
            Some(unsafe { value.assume_init() })
        } else {
            None
        }
    }

    #[inline(always)]
    unsafe fn load_bytes(&self, at: usize, to: *mut u8, length: usize) -> bool {
        // SAFETY: the caller's promise.
        unsafe { bpf_xdp_load_bytes(self.ctx, self.offset(at), to.cast(), length as u32) == 0 }
    }

    #[inline(always)]
    fn context(&self) -> *mut c_void {
        self.ctx.cast()
    }

    #[inline(always)]
    fn skb(&self) -> Option<*mut __sk_buff> {
        None
    }
}
