//! The contexts of programs.

use core::{ffi::c_void, marker::PhantomData, mem::MaybeUninit};

use super::{
    EbpfContext,
    bindings::{__sk_buff, bpf_sock_addr, bpf_sock_ops, bpf_sockopt, xdp_md},
    frame::{Frame, INTERFACE},
    helpers::bpf_skb_load_bytes,
    sockets,
};

/// The context of a TC program.
pub struct TcContext {
    /// The frame.
    pub skb: SkBuff,
}

/// A frame as programs see it.
pub struct SkBuff {
    /// The first field of a [`Frame`].
    pub skb: *mut __sk_buff,
}

impl TcContext {
    /// For this frame, which must outlive the context.
    pub fn new(frame: &mut Frame) -> Self {
        Self { skb: SkBuff { skb: frame.as_context() } }
    }

    /// Length of the frame in bytes.
    pub fn len(&self) -> u32 {
        // SAFETY: a context is made of a frame only.
        unsafe { (*self.skb.skb).len }
    }

    /// Whether the frame is empty, which none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Address of the first byte at hand. The bytes at hand are a copy, made by this call.
    pub fn data(&self) -> usize {
        // SAFETY: a context is made of a frame only.
        unsafe { Frame::of(self.skb.skb) }.data()
    }

    /// Address behind the last byte at hand.
    pub fn data_end(&self) -> usize {
        // SAFETY: a context is made of a frame only.
        unsafe { Frame::of(self.skb.skb) }.data_end()
    }

    /// Copies a value out of the frame.
    ///
    /// # Errors
    /// If the frame ends before it.
    pub fn load<T>(&self, offset: usize) -> Result<T, i64> {
        let mut value = MaybeUninit::<T>::uninit();
        let (to, length) = (value.as_mut_ptr().cast(), size_of::<T>() as u32);
        // SAFETY: as many bytes as the value has.
        let loaded = unsafe { bpf_skb_load_bytes(self.skb.skb.cast(), offset as u32, to, length) };
        // SAFETY: written by the helper; the programs load numbers and arrays of them only.
        if loaded == 0 { Ok(unsafe { value.assume_init() }) } else { Err(loaded) }
    }
}

impl EbpfContext for TcContext {
    fn as_ptr(&self) -> *mut c_void {
        self.skb.skb.cast()
    }
}

/// The context of a program at XDP.
pub struct XdpContext {
    /// The first field of a [`Frame`], in truth.
    pub ctx: *mut xdp_md,
}

impl XdpContext {
    /// For the context of a frame. The frame must outlive it.
    pub const fn new(ctx: *mut xdp_md) -> Self {
        Self { ctx }
    }

    /// For this frame, which must outlive the context.
    pub(crate) fn of(frame: &mut Frame) -> Self {
        Self::new(frame.as_context().cast())
    }

    /// Address of the first byte at hand. The bytes at hand are a copy, made by this call.
    pub fn data(&self) -> usize {
        // SAFETY: a context is made of a frame only.
        unsafe { Frame::of(self.ctx.cast()) }.data()
    }

    /// Address behind the last byte at hand.
    pub fn data_end(&self) -> usize {
        // SAFETY: a context is made of a frame only.
        unsafe { Frame::of(self.ctx.cast()) }.data_end()
    }

    /// The number of the frame's interface.
    pub fn ingress_ifindex(&self) -> usize {
        INTERFACE as usize
    }
}

impl EbpfContext for XdpContext {
    fn as_ptr(&self) -> *mut c_void {
        self.ctx.cast()
    }
}

/// The context of a program for sockets' events.
pub struct SockOpsContext {
    /// The event.
    pub ops: *mut bpf_sock_ops,
}

macro_rules! fields {
    ($($name:ident: $type:ty)*) => {$(
        /// A field of the context.
        pub fn $name(&self) -> $type {
            // SAFETY: a context is made of an event only.
            unsafe { (*self.ops).$name }
        }
    )*};
}

impl SockOpsContext {
    /// For this event.
    pub fn new(event: &mut bpf_sock_ops) -> Self {
        Self { ops: event }
    }

    fields! {
        op: u32
        family: u32
        remote_ip4: u32
        local_ip4: u32
        remote_port: u32
        local_port: u32
    }

    /// The events that the program asks for.
    pub fn cb_flags(&self) -> u32 {
        // SAFETY: a context is made of an event only.
        unsafe { (*self.ops).bpf_sock_ops_cb_flags }
    }

    /// Asks for more events.
    ///
    /// # Errors
    /// Never.
    pub fn set_cb_flags(&self, flags: i32) -> Result<(), i32> {
        // SAFETY: a context is made of an event only.
        unsafe { (*self.ops).bpf_sock_ops_cb_flags = flags.cast_unsigned() };
        Ok(())
    }

    /// An argument of the event.
    pub fn arg(&self, index: usize) -> u32 {
        // SAFETY: a context is made of an event only, and its arguments are numbers.
        unsafe { (*self.ops).__bindgen_anon_1.args[index] }
    }
}

impl EbpfContext for SockOpsContext {
    fn as_ptr(&self) -> *mut c_void {
        self.ops.cast()
    }
}

/// The context of a program that answers for a socket's address.
pub struct SockAddrContext {
    /// The question.
    pub sock_addr: *mut bpf_sock_addr,
}

impl EbpfContext for SockAddrContext {
    fn as_ptr(&self) -> *mut c_void {
        self.sock_addr.cast()
    }
}

/// The context of a program that answers for a socket's options.
pub struct SockoptContext {
    /// The question.
    pub sockopt: *mut bpf_sockopt,
}

impl EbpfContext for SockoptContext {
    fn as_ptr(&self) -> *mut c_void {
        self.sockopt.cast()
    }
}

/// Memory that belongs to sockets.
#[repr(C)]
pub struct SkStorage<T> {
    /// Size of a value in bytes; the helper reads it.
    size: usize,
    element: PhantomData<fn() -> T>,
}

impl<T> SkStorage<T> {
    /// The definition.
    #[allow(clippy::new_without_default, reason = "made in statics only")]
    pub const fn new() -> Self {
        Self { size: size_of::<T>(), element: PhantomData }
    }

    /// The value of the context's socket; null if it has none.
    ///
    /// # Safety
    /// The context holds a socket.
    pub unsafe fn get_ptr_mut(&self, ctx: &SockAddrContext) -> *mut T {
        let map = core::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: the caller's promise.
        unsafe {
            let socket = (*ctx.sock_addr).__bindgen_anon_1.sk;
            sockets::bpf_sk_storage_get(map, socket.cast(), core::ptr::null_mut(), 0).cast()
        }
    }
}
