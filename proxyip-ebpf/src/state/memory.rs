//! Working memory of a program for one packet. Each room has a place there; here is the whole.
//!
//! It holds what is too large for the stack, and what functions that are verified separately pass to one another. Each
//! field has one writer, the stage before its readers.

use core::{cell::Cell, mem::offset_of};

use proxyip_common::{
    flow::{FlowKey, FlowRecord},
    partial::HeaderBytes,
};

use crate::{
    frame::{options, reply::ReplyBuffer},
    header::{self, intact::Summing},
    kernel::{
        btf_maps::PerCpuArray,
        macros::btf_map,
        memory::{Place, Room, room},
    },
    state::{
        handshakes::Handshake,
        sockets::{Found, Limits},
    },
};

/// Working memory of the ingress program for one segment.
#[repr(C, align(8))]
pub struct Memory {
    /// The segment's TCP options.
    pub options: options::Found,
    /// Its checksum.
    pub summing: Summing,
    /// The header.
    pub header: header::Read,
    /// The options again, with no-operations in the place of some.
    pub blanked: Place<options::Buffer>,
    /// The frame of an answer.
    pub reply: Place<ReplyBuffer>,
    /// The bytes of the header, to be kept.
    pub bytes: Place<HeaderBytes>,
    /// What would get the segment. Written by [`look`](crate::decide::quick::look), or else by
    /// [`find`](crate::decide::found::find). As an argument of the function that decides
    /// on SYNs, Linux 6.1 passed a wrong value; the cause is not known.
    pub found: Cell<Found>,
    /// What the listening socket that would get the SYN allows. Written by [`find`](crate::decide::found::find).
    pub limits: Cell<Limits>,
    /// By how much to lower the segment's sequence number. Written by [`look`](crate::decide::quick::look) when it is
    /// translated.
    pub ahead: Cell<u32>,
    /// What is known of the segment's handshake. Written by `decide`, through [`Memory::settle`] alone.
    pub handshake: Cell<Handshake>,
    /// When the SYN came of a handshake that the kernel does; 0 if that is not known. Written before the hand-off, which
    /// forgets the SYN, and read behind it: a number on the stack would be one too many.
    pub since_ns: Cell<u64>,
}

// SAFETY: cells; each is valid when it is zero. The parts that are rooms themselves are its fields.
unsafe impl Room for Memory {
    const AT: usize = {
        assert!(offset_of!(Self, options) == options::Found::AT);
        assert!(offset_of!(Self, summing) == Summing::AT);
        assert!(offset_of!(Self, header) == header::Read::AT);
        0
    };
}

/// This CPU's, for the ingress program.
#[inline(always)]
pub fn memory() -> Option<&'static Memory> {
    room()
}

impl Memory {
    /// Names the handshake of the segment. Nothing has been read of its header.
    #[inline(always)]
    pub fn settle(&self, handshake: Handshake) {
        self.handshake.set(handshake);
        self.header.kept.set(0);
        self.header.skipped.set(0);
    }

    /// The flow's key, where map operations take it from.
    #[inline(always)]
    pub fn key(&self) -> &FlowKey {
        // SAFETY: written by `set_key` alone, which is given no part of it.
        unsafe { &self.header.event.get().key }
    }

    /// Replaces the key.
    #[inline(always)]
    pub fn set_key(&self, key: FlowKey) {
        // SAFETY: nobody is in the middle of reading it.
        unsafe { self.header.event.get_mut().key = key };
    }

    /// The flow's record.
    #[inline(always)]
    pub fn record(&self) -> &FlowRecord {
        // SAFETY: written by `set_record` and `change_record` alone.
        unsafe { &self.header.event.get().record }
    }

    /// Replaces the record.
    #[inline(always)]
    pub fn set_record(&self, record: FlowRecord) {
        // SAFETY: nobody is in the middle of reading it.
        unsafe { self.header.event.get_mut().record = record };
    }

    /// Changes the record; what changes it sees nothing else of the memory.
    #[inline(always)]
    pub fn change_record(&self, change: impl FnOnce(&mut FlowRecord)) {
        // SAFETY: nobody is in the middle of reading it.
        change(unsafe { &mut self.header.event.get_mut().record });
    }
}

/// Working memory of the egress program for one segment. It may run in the middle of the ingress program, when that
/// sends a frame; but not in the middle of itself.
#[repr(C)]
pub struct Egress {
    pub key: FlowKey,
    /// By how much to raise what the segment acknowledges, if that is known early.
    pub ahead: u32,
    /// The option being read, and where the options end: offsets in the frame.
    pub at: usize,
    pub end: usize,
    /// Where the SACK blocks are, and how many bytes.
    pub sack_at: usize,
    pub sack_length: usize,
    /// Their edges as they were, and as they shall be.
    pub old: [u32; 8],
    pub new: [u32; 8],
}

/// One [`Egress`] for each CPU.
#[btf_map]
pub static EGRESS: PerCpuArray<Egress, 1> = PerCpuArray::new();

/// The egress program's working memory of this CPU.
#[inline(always)]
pub fn egress() -> Option<&'static mut Egress> {
    let egress = EGRESS.get_ptr_mut(0)?;
    // SAFETY: the value is this CPU's own, zeroed by the kernel. Who takes it again uses no reference from before.
    Some(unsafe { &mut *egress })
}
