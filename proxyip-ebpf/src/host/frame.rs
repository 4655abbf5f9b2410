//! Frames, and what the kernel knows of their checksums.

use core::mem::MaybeUninit;

use super::{
    bindings::{__sk_buff, bpf_sock},
    numbers::{add, fold, same, sum},
    sockets::{self, Request},
    wire::Segment,
};

/// Length of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;

/// How far the checksum of a frame is known (`ip_summed`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Not at all.
    None,
    /// The device has verified it.
    Unnecessary,
    /// The device has summed the frame behind its Ethernet header.
    Complete,
    /// The field holds the sum of the pseudo-header, and a device will complete it.
    Partial,
}

/// A frame (`struct sk_buff`).
#[repr(C)]
#[derive(Clone)]
pub struct Frame {
    /// What programs see; first, so that its address is the frame's.
    context: __sk_buff,
    /// All bytes, from the Ethernet header on.
    bytes: Vec<u8>,
    /// A copy of the bytes that programs can read directly.
    head: Box<[u8]>,
    /// How many those are at most.
    linear: usize,
    pub(crate) checksum: Checksum,
    /// Where the TCP header is, for [`Checksum::Partial`].
    start: usize,
    /// The device's sum, for [`Checksum::Complete`].
    pub(crate) sum: u32,
    /// The request socket that a program has put on it.
    pub(crate) request: Option<Request>,
}

/// The interface of all frames.
pub const INTERFACE: u32 = 7;

impl Frame {
    /// A frame as it comes in, with a complete checksum. Its first `linear` bytes are at hand. It has at least an
    /// Ethernet header.
    pub fn new(bytes: Vec<u8>, linear: usize, checksum: Checksum) -> Box<Self> {
        assert!(bytes.len() >= ETHERNET, "an Ethernet header");
        // SAFETY: numbers and unions of numbers and pointers, for which zero is a value.
        let mut context: __sk_buff = unsafe { MaybeUninit::zeroed().assume_init() };
        context.len = bytes.len() as u32;
        context.ifindex = INTERFACE;
        context.ingress_ifindex = INTERFACE;
        context.protocol = u16::from_ne_bytes([bytes[12], bytes[13]]).into();
        let (mut bytes, mut checksum, mut start) = (bytes, checksum, 0);
        if checksum == Checksum::Partial {
            match Segment::read(&bytes, true) {
                Some(segment) => start = segment.make_partial(&mut bytes),
                None => checksum = Checksum::None,
            }
        }
        let sum = sum(&bytes[ETHERNET..]);
        Box::new(Self {
            context,
            bytes,
            head: Box::default(),
            linear,
            checksum,
            start,
            sum,
            request: None,
        })
    }

    /// The frame as a socket of this host sends it, and not as it comes in. The socket is null, or held until
    /// [`Frame::release_sender`].
    pub(crate) fn from_socket(mut self: Box<Self>, socket: *mut bpf_sock) -> Box<Self> {
        self.context.ingress_ifindex = 0;
        self.context.__bindgen_anon_2.sk = socket;
        self
    }

    /// Lets go of the socket that sends it, if one does.
    pub(crate) fn release_sender(&mut self) {
        // SAFETY: a pointer, which is null in a frame that no socket sends.
        let socket = unsafe { self.context.__bindgen_anon_2.sk };
        self.context.__bindgen_anon_2.sk = core::ptr::null_mut();
        if !socket.is_null() {
            // SAFETY: held since the frame was made.
            unsafe { sockets::bpf_sk_release(socket.cast()) };
        }
    }

    /// The frame as a device sends it: it completes the checksum, if that is left to it.
    pub fn on_the_wire(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if self.checksum == Checksum::Partial {
            let checksum = !fold(sum(&bytes[self.start..]).into());
            bytes[self.start + 16..self.start + 18].copy_from_slice(&checksum.to_ne_bytes());
        }
        bytes
    }

    /// The shortest that a program can make it.
    pub(crate) fn shortest(&self) -> usize {
        if self.checksum == Checksum::Partial { self.start + 18 } else { ETHERNET }
    }

    /// The frame that a context belongs to.
    ///
    /// # Safety
    /// The context is that of a frame, which nobody else uses meanwhile.
    pub(crate) unsafe fn of<'a>(context: *mut __sk_buff) -> &'a mut Self {
        // SAFETY: the context is the first field, and the pointer was made from one to the whole frame.
        unsafe { &mut *context.cast::<Self>() }
    }

    pub(crate) fn as_context(&mut self) -> *mut __sk_buff {
        core::ptr::from_mut(self).cast()
    }

    /// The fields that programs see.
    pub fn fields(&mut self) -> &mut __sk_buff {
        &mut self.context
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How far the checksum is known.
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// Whether the device's sum, if there is one, still is that of the bytes.
    pub fn is_consistent(&self) -> bool {
        self.checksum != Checksum::Complete || same(self.sum, sum(&self.bytes[ETHERNET..]))
    }

    pub(crate) fn data(&mut self) -> usize {
        // An allocation of its own, so that AddressSanitizer sees what is read behind it.
        self.head = self.bytes[..self.linear.min(self.bytes.len())].into();
        self.head.as_ptr() as usize
    }

    pub(crate) fn data_end(&self) -> usize {
        self.head.as_ptr() as usize + self.head.len()
    }

    /// The bytes in a range that is within the frame.
    pub(crate) fn range(&mut self, offset: u32, length: usize) -> Option<&mut [u8]> {
        let start = offset as usize;
        self.bytes.get_mut(start..start.checked_add(length)?)
    }

    /// Changes the device's sum for bytes that were replaced.
    pub(crate) fn resum(&mut self, offset: u32, old: u32, new: u32) {
        if self.checksum != Checksum::Complete {
            return;
        }
        let turned = |sum: u32| if offset % 2 == 1 { turn(sum) } else { sum };
        self.sum = add(add(self.sum, !turned(old)), turned(new));
    }

    pub(crate) fn resize(&mut self, length: u32) {
        self.bytes.resize(length as usize, 0);
        self.context.len = length;
        if self.checksum == Checksum::Complete {
            self.checksum = Checksum::None;
        }
    }
}

/// The sum of the same bytes at odd offsets (RFC 1071 §2).
fn turn(sum: u32) -> u32 {
    u32::from((sum as u16).swap_bytes())
}
