//! The header in the payload of the first segments: copied, measured, read.

pub mod intact;

use core::{cell::Cell, hint::black_box};

use proxyip_common::{
    counter::DropReason,
    event::Event,
    header::{Header, MAX_LENGTH, Parser, Source, Version, long::Long, v2, version},
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

mod long;

/// What is copied at first: any version 1 header, and nearly every version 2 header, whole.
const FIRST: usize = 256;

/// Room for a header, and for a segment's bytes behind as many that came before; aligned, so that addresses are read as
/// words.
#[repr(C, align(8))]
pub struct Bytes(Place<[u8; 2 * MAX_LENGTH]>);

impl Bytes {
    /// The address of the byte at an offset, which is taken modulo [`MAX_LENGTH`].
    #[inline(always)]
    fn at(&self, offset: usize) -> *mut u8 {
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
    rest: long::Rest,
    parser: Place<Parser>,
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
struct Loaded<'a> {
    bytes: &'a Bytes,
    length: usize,
}

impl<'a> Loaded<'a> {
    #[inline(always)]
    fn new(bytes: &'a Bytes, loaded: usize) -> Self {
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

/// Reads the header that ends in `segment`. [`Read::kept`] of its bytes came before.
///
/// # Errors
/// Why the connection must be refused. [`DropReason::HeaderIncomplete`] if all the bytes so far could begin a header:
/// then all of them are loaded.
#[inline(always)]
pub fn read(packet: &impl Packet, segment: &Segment, header: &Read) -> Result<(), DropReason> {
    load(packet, segment, header, FIRST)?;
    let length = decode(measure_header())?;
    if length > MAX_LENGTH {
        return long::read(packet, segment, header);
    }
    if length > header.loaded.get() {
        load(packet, segment, header, length.wrapping_sub(header.kept.get()))?;
    }
    if length > header.loaded.get() {
        return Err(DropReason::HeaderIncomplete);
    }
    // SAFETY: nobody else has a reference to the parser.
    unsafe { header.parser.get_mut() }.restart();
    decode(parse_header())?;
    Ok(())
}

#[inline(always)]
fn encode(result: Result<usize, DropReason>) -> Code {
    match result {
        Ok(number) => number as Code,
        Err(reason) => -1 - (reason as Code),
    }
}

#[inline(always)]
fn decode(code: Code) -> Result<usize, DropReason> {
    match usize::try_from(code) {
        Ok(number) => Ok(number),
        Err(_) => {
            Err(DropReason::from_u8((!code).cast_unsigned() as u8).unwrap_or(DropReason::Checksum))
        }
    }
}

// The verifier checks a global function once, independent of its callers, and treats its result as unknown. It would
// walk a static function at each call, in each round of a loop.

/// The length of the version 2 header in the memory, read from the loaded bytes, or 0 for version 1.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn measure_header() -> Code {
    let Some(header) = room::<Read>() else { return encode(Err(DropReason::Checksum)) };
    if header.kept.get() == 0 {
        // SAFETY: nobody has a reference to it.
        unsafe { *header.long.as_ptr() = Long::NONE };
    }
    let loaded = Loaded::new(&header.bytes, header.loaded.get());
    let version = version(&loaded);
    header.undecided.set(version.is_err());
    encode(match version {
        Ok(Version::V1) => Ok(0),
        Ok(Version::V2) => v2::length(&loaded),
        Err(reason) => Err(reason),
    })
}

/// Reads the header in the memory, which is loaded whole; 0 if it is good.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn parse_header() -> Code {
    for _ in 0..Parser::MAX_STEPS {
        let code = parse_step();
        if code <= 0 {
            return code;
        }
    }
    encode(Err(DropReason::V2Tlv))
}

/// One step of reading it; 0 if it was the last.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn parse_step() -> Code {
    let Some(header) = room::<Read>() else { return encode(Err(DropReason::Checksum)) };
    let loaded = Loaded::new(&header.bytes, header.loaded.get());
    // SAFETY: nobody else has a reference to the parser.
    let parser = unsafe { header.parser.get_mut() };
    encode(parser.step(&loaded).map(usize::from))
}

/// Copies the next `most` bytes of the payload, or all if there are fewer, behind those that are kept.
#[inline(never)]
fn load(
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
