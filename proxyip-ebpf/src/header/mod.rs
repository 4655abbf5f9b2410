//! The header in the payload of the first segments: copied, measured, read.

pub mod intact;

use core::hint::black_box;

use proxyip_common::{
    address::{Client, Destination},
    counter::DropReason,
    flow::{FlowRecord, Origin},
    header::{self, MAX_LENGTH, Parser, Source, Version, v2},
    settings::ListenerSettings,
};

use crate::{
    decide::policy,
    frame::segment::Segment,
    kernel::{
        clock::now,
        helpers::bpf_skb_load_bytes,
        packet::raw,
        programs::TcContext,
        verified::{Code, bounded, share},
    },
    memory::{Scratch, scratch},
    state::listeners::LISTENERS,
};

/// What is copied at first: any version 1 header, and nearly every version 2 header, whole.
const FIRST: usize = 256;

/// Room for a header, and for a segment's bytes behind as many that came before; aligned, so that addresses are read as
/// words.
#[repr(C, align(8))]
pub struct Bytes([u8; 2 * MAX_LENGTH]);

impl Bytes {
    /// The same as words.
    #[inline(always)]
    pub fn words(&mut self) -> *mut u64 {
        self.0.as_mut_ptr().cast()
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
        let offset = offset & (MAX_LENGTH - 1);
        // SAFETY: the array is longer than the mask allows.
        Some(unsafe { self.bytes.0.as_ptr().add(offset).cast::<[u8; N]>().read() })
    }

    #[inline(always)]
    fn byte(&self, offset: usize) -> u8 {
        self.bytes.0[offset & (MAX_LENGTH - 1)]
    }
}

/// Reads and judges the header that ends in `segment`, of which `scratch.kept` bytes came before; the flow's record is
/// then in `scratch`.
///
/// # Errors
/// Why the connection must be refused. [`DropReason::HeaderIncomplete`] if all that has come could begin a header:
/// then all of it is loaded.
#[inline(always)]
pub fn read(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Result<(), DropReason> {
    load(ctx, segment, scratch, FIRST)?;
    let scratch = share(scratch);
    let length = decode(measure_header())?;
    if length > scratch.loaded {
        load(ctx, segment, scratch, length.wrapping_sub(scratch.kept))?;
    }
    if length > scratch.loaded {
        return Err(DropReason::HeaderIncomplete);
    }
    scratch.parser.restart();
    let scratch = share(scratch);
    decode(parse_header())?;
    judge(segment, share(scratch))
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
            Err(DropReason::from_u8((!code).cast_unsigned() as u8)
                .unwrap_or(DropReason::HeaderMissing))
        }
    }
}

// The verifier walks each function that is exported once, whatever it knows at its calls, and then takes its
// result as it may come. A static function it would walk at each call, for each of a loop's rounds.

/// The length of the version 2 header in the scratch, as far as loaded, or 0 for version 1.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn measure_header() -> Code {
    let Some(scratch) = scratch() else { return encode(Err(DropReason::HeaderMissing)) };
    let loaded = Loaded::new(&scratch.header, scratch.loaded);
    encode(match header::version(&loaded) {
        Ok(Version::V1) => Ok(0),
        Ok(Version::V2) => v2::length(&loaded),
        Err(reason) => Err(reason),
    })
}

/// Reads the header in the scratch, which is loaded whole; 0 if it is good.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn parse_header() -> Code {
    for _ in 0..Parser::MAX_STEPS {
        let code = parse_step();
        if code <= 0 {
            return code;
        }
    }
    encode(Err(DropReason::HeaderTooLong))
}

/// One step of reading it; 0 if it was the last.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn parse_step() -> Code {
    let Some(scratch) = scratch() else { return encode(Err(DropReason::HeaderMissing)) };
    let loaded = Loaded::new(&scratch.header, scratch.loaded);
    encode(scratch.parser.step(&loaded).map(usize::from))
}

/// Applies the listener's settings and makes the record.
#[inline(never)]
fn judge(segment: &Segment, scratch: &mut Scratch) -> Result<(), DropReason> {
    let listener = LISTENERS.get(segment.listener.into()).ok_or(DropReason::VersionRefused)?;
    let header = &scratch.parser.header;
    let version = if header.version == 1 { ListenerSettings::V1 } else { ListenerSettings::V2 };
    if !listener.has(version) {
        return Err(DropReason::VersionRefused);
    }
    let (client, destination) = match header.origin {
        Origin::Proxied => (header.client, header.destination),
        Origin::Unknown if listener.has(ListenerSettings::REFUSE_UNKNOWN) => {
            return Err(DropReason::UnknownRefused);
        }
        Origin::Unknown | Origin::Local => (Client(segment.peer.0), Destination(segment.local.0)),
    };
    scratch.event.record = FlowRecord {
        handed_over_ns: now(),
        established_ns: 0,
        received_at_fin_wait: 0,
        client,
        destination,
        listener: segment.listener,
        header_length: header.length,
        version: header.version,
        origin: header.origin as u8,
        flags: if header.tlvs < header.length { FlowRecord::TLVS } else { 0 },
        hand_off: scratch.hand_off,
    };
    policy::judge_client(segment, scratch)
}

/// Copies the next `most` bytes of the payload, or all if there are fewer, behind those that are kept.
#[inline(never)]
fn load(
    ctx: &TcContext,
    segment: &Segment,
    scratch: &mut Scratch,
    most: usize,
) -> Result<(), DropReason> {
    let (kept, skipped) = (scratch.kept, scratch.skipped);
    let fresh = segment.payload.wrapping_sub(skipped);
    let fresh = bounded::<MAX_LENGTH>(if fresh < most { fresh } else { most })
        .ok_or(DropReason::HeaderMissing)?;
    let to = scratch.header.0[black_box(kept) & (MAX_LENGTH - 1)..].as_mut_ptr();
    // SAFETY: `fresh` is at most half the length of the array, and `to` is in its first half.
    let loaded = unsafe {
        let at = segment.tcp + segment.header + skipped;
        bpf_skb_load_bytes(raw(ctx).cast(), at as u32, to.cast(), fresh as u32)
    };
    scratch.loaded = kept + fresh;
    // A frame shorter than its IP header says is dropped by the stack as well.
    if loaded == 0 { Ok(()) } else { Err(DropReason::HeaderMissing) }
}
