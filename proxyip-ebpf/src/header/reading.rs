//! The bytes of the header that is being read, and single steps of reading it.

use core::{cell::Cell, hint::black_box};

use proxyip_common::{
    counter::DropReason,
    event::Event,
    header::{Header, MAX_LENGTH, Parser, Source, long::Long},
};

use crate::{
    frame::segment::Segment,
    header::intact::Summing,
    kernel::{
        memory::{Place, Room, room},
        packet::Packet,
        verified::{Code, bounded},
    },
};

/// Room for a header, and for a segment's bytes behind as many that came before; aligned, so that addresses are read as
/// words.
#[repr(C, align(8))]
pub struct Bytes(Place<[u8; 2 * MAX_LENGTH]>);

impl Bytes {
    /// The address of the byte at an offset, which is taken modulo [`MAX_LENGTH`].
    #[inline(always)]
    pub(super) fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: the array is longer than the mask allows.
        unsafe { self.words().cast::<u8>().add(offset & (MAX_LENGTH - 1)) }
    }

    /// All of them, as words.
    #[inline(always)]
    pub const fn words(&self) -> *mut u64 {
        self.0.as_ptr().cast()
    }
}

/// The header that is being read, in working memory.
#[repr(C, align(8))]
pub struct Read {
    /// The flow's key and record, and with them the event that reports it. The agent gets the header's bytes, which lie
    /// behind it, with one kind of event.
    pub event: Place<Event>,
    pub bytes: Bytes,
    /// How many of the bytes are there.
    pub loaded: Cell<usize>,
    /// How many of these came in earlier segments.
    pub kept: Cell<usize>,
    /// How many bytes of the segment's payload are among those.
    pub skipped: Cell<usize>,
    /// How many of the bytes that came in earlier segments were acknowledged.
    pub acknowledged: Cell<u32>,
    /// The bytes are too few to tell whether they begin a header.
    pub undecided: Cell<bool>,
    /// What has been read of a long header.
    pub long: Place<Long>,
    /// Of a long header: the segment's payload as a part of the stream.
    pub(super) rest: Rest,
    pub(super) parser: Place<Parser>,
}

// SAFETY: cells. What the parser's origin is nobody reads before it is written; all else is valid when it is zero.
unsafe impl Room for Read {
    const AT: usize = Summing::END;
}

impl Read {
    /// Takes it that there is no header.
    #[inline(always)]
    pub fn set_none(&self) {
        // SAFETY: nobody else has a reference to the parser.
        unsafe { self.parser.get_mut() }.header = Header::NONE;
    }

    /// The header; whole when [`read`] has read it.
    #[inline(always)]
    pub fn header(&self) -> &Header {
        // SAFETY: written by `parse_step` alone.
        unsafe { &self.parser.get().header }
    }
}

/// The bytes copied so far.
pub(super) struct Loaded<'a> {
    bytes: &'a Bytes,
    length: usize,
}

impl<'a> Loaded<'a> {
    #[inline(always)]
    pub(super) fn new(bytes: &'a Bytes, loaded: usize) -> Self {
        // Opaque, or the compiler knows that the masks below change nothing, and leaves them out.
        Self { bytes, length: black_box(loaded.min(MAX_LENGTH)) }
    }
}

impl Source for Loaded<'_> {
    #[inline(always)]
    fn length(&self) -> usize {
        self.length
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        const { assert!(N <= MAX_LENGTH) }
        if offset + N > self.length {
            return None;
        }
        // The mask changes nothing; it shows the verifier the bound.
        // SAFETY: behind the offset there are as many bytes as a header has, and nobody writes to them.
        Some(unsafe { self.bytes.at(offset).cast::<[u8; N]>().read() })
    }

    #[inline(always)]
    fn byte(&self, offset: usize) -> u8 {
        // SAFETY: within the array, to which nobody writes.
        unsafe { self.bytes.at(offset).read() }
    }
}

/// The segment's payload as a part of the stream that begins with the header.
#[repr(C, align(8))]
pub struct Rest {
    /// Offset in the frame of the stream's first byte, which may be before the frame.
    pub(super) base: Cell<usize>,
    /// Offset in the stream of the first byte behind the segment.
    pub(super) end: Cell<usize>,
    /// Offset in the stream of the bytes that lie behind the kept ones.
    pub(super) at: Cell<usize>,
}

impl Read {
    /// The byte at this offset of the stream, which is loaded.
    #[inline(always)]
    pub(super) fn byte(&self, at: usize) -> u8 {
        let second = MAX_LENGTH | at.wrapping_sub(self.rest.at.get()) & (MAX_LENGTH - 1);
        let place = if at < MAX_LENGTH { at } else { second };
        // SAFETY: within the array, to which nobody writes.
        unsafe {
            self.bytes.words().cast::<u8>().add(black_box(place) & (2 * MAX_LENGTH - 1)).read()
        }
    }
}

#[inline(always)]
pub(super) fn encode(result: Result<usize, impl Into<DropReason>>) -> Code {
    match result {
        Ok(number) => number as Code,
        Err(reason) => -1 - (reason.into() as Code),
    }
}

#[inline(always)]
pub(super) fn decode(code: Code) -> Result<usize, DropReason> {
    match usize::try_from(code) {
        Ok(number) => Ok(number),
        Err(_) => {
            Err(DropReason::from_u8((!code).cast_unsigned() as u8).unwrap_or(DropReason::Checksum))
        }
    }
}

/// One step of reading it; 0 if it was the last.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn parse_step() -> Code {
    let Some(header) = room::<Read>() else { return encode(Err(DropReason::Checksum)) };
    let loaded = Loaded::new(&header.bytes, header.loaded.get());
    // SAFETY: nobody else has a reference to the parser.
    let parser = unsafe { header.parser.get_mut() };
    encode(parser.step(&loaded).map(usize::from))
}

/// Copies the next `most` bytes of the payload, or all if there are fewer, behind those that are kept.
#[inline(never)]
pub(super) fn load(
    packet: &impl Packet,
    segment: &Segment,
    header: &Read,
    most: usize,
) -> Result<(), DropReason> {
    let (kept, skipped) = (header.kept.get(), header.skipped.get());
    if kept >= MAX_LENGTH {
        // Of a long header no more is kept.
        header.loaded.set(kept);
        return Ok(());
    }
    let fresh = segment.payload.wrapping_sub(skipped);
    let fresh = bounded::<MAX_LENGTH>(if fresh < most { fresh } else { most })
        .ok_or(DropReason::Checksum)?;
    let to = header.bytes.at(black_box(kept));
    // SAFETY: `fresh` is at most half the length of the array, and `to` is in its first half.
    let loaded = unsafe { packet.load_bytes(segment.tcp + segment.header + skipped, to, fresh) };
    header.loaded.set(kept + fresh);
    // A frame shorter than its IP header says is dropped by the stack as well.
    if loaded { Ok(()) } else { Err(DropReason::Checksum) }
}
