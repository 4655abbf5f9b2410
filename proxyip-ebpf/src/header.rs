//! From the payload of the first segment to a flow record.

use core::{hint::black_box, ops::ControlFlow};

use aya_ebpf::{helpers::bpf_skb_load_bytes, programs::TcContext};
use proxyip_common::{
    address::{Client, Destination},
    counter::DropReason,
    flow::{FlowRecord, Origin},
    header::{self, MAX_LENGTH, Source, Version, v1, v2},
    settings::ListenerSettings,
};

use crate::{
    event::now,
    maps::{LISTENERS, Scratch},
    packet::{Segment, raw},
    repeat::repeat,
};

/// What is copied at first: any version 1 header, and nearly every version 2 header, whole.
const FIRST: usize = 256;

/// Room for a header; aligned, so that addresses are read as words.
#[repr(C, align(8))]
pub struct Bytes([u8; MAX_LENGTH]);

/// The bytes copied so far.
pub struct Loaded<'a> {
    pub bytes: &'a Bytes,
    pub length: usize,
}

impl Source for Loaded<'_> {
    #[inline(always)]
    fn length(&self) -> usize {
        self.length
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > MAX_LENGTH - N || offset + N > self.length {
            return None;
        }
        // SAFETY: `offset + N` is at most the length of the array, as just checked.
        Some(unsafe { self.bytes.0.as_ptr().add(offset).cast::<[u8; N]>().read() })
    }

    #[inline(always)]
    fn repeat<T, F>(&self, times: u32, state: &mut T, step: F)
    where
        F: Fn(&Self, &mut T) -> ControlFlow<()>,
    {
        repeat(times, &mut (self, state), |(source, state)| step(source, state));
    }
}

/// Reads and judges the header of `segment`; the flow's record is then in `scratch`.
///
/// # Errors
/// Why the connection must be refused.
#[inline(always)]
pub fn read(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Result<(), DropReason> {
    scratch.loaded = load(ctx, segment, &mut scratch.header, FIRST)?;
    match peek(scratch)? {
        0 => parse_v1(scratch)?,
        length => {
            if length > segment.payload {
                return Err(DropReason::HeaderIncomplete);
            }
            if length > scratch.loaded {
                scratch.loaded = load(ctx, segment, &mut scratch.header, length)?;
            }
            parse_v2(scratch)?;
        }
    }
    judge(segment, scratch)
}

// Each of the following has a stack frame of its own: together they would not fit.

/// The length of a version 2 header, or 0 for version 1.
#[inline(never)]
fn peek(scratch: &mut Scratch) -> Result<usize, DropReason> {
    let loaded = Loaded { bytes: &scratch.header, length: scratch.loaded };
    match header::version(&loaded)? {
        Version::V1 => Ok(0),
        Version::V2 => v2::length(&loaded),
    }
}

#[inline(never)]
fn parse_v1(scratch: &mut Scratch) -> Result<(), DropReason> {
    let loaded = Loaded { bytes: &scratch.header, length: scratch.loaded };
    scratch.parsed = v1::parse(&loaded, &mut scratch.memory)?;
    Ok(())
}

#[inline(never)]
fn parse_v2(scratch: &mut Scratch) -> Result<(), DropReason> {
    let loaded = Loaded { bytes: &scratch.header, length: scratch.loaded };
    scratch.parsed = v2::parse(&loaded, &mut scratch.memory)?;
    Ok(())
}

/// Applies the listener's settings and makes the record.
#[inline(never)]
fn judge(segment: &Segment, scratch: &mut Scratch) -> Result<(), DropReason> {
    let listener = LISTENERS.get(segment.listener.into()).ok_or(DropReason::VersionRefused)?;
    let header = &scratch.parsed;
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
        has_tlvs: u8::from(header.tlvs < header.length),
        reserved: 0,
    };
    Ok(())
}

/// Copies the first `most` bytes of the payload, or all if it is shorter; returns how many.
#[inline(always)]
pub fn load(
    ctx: &TcContext,
    segment: &Segment,
    bytes: &mut Bytes,
    most: usize,
) -> Result<usize, DropReason> {
    // Opaque, so that the compiler keeps both checks: the verifier does not know what it knows.
    let length = black_box(if segment.payload < most { segment.payload } else { most });
    if length == 0 || length > MAX_LENGTH {
        return Err(DropReason::HeaderMissing);
    }
    // SAFETY: `length` is at most the length of the array, as just checked.
    let loaded = unsafe {
        bpf_skb_load_bytes(
            raw(ctx).cast(),
            (segment.tcp + segment.header) as u32,
            bytes.0.as_mut_ptr().cast(),
            length as u32,
        )
    };
    // A frame shorter than its IP header says is dropped by the stack as well.
    if loaded == 0 { Ok(length) } else { Err(DropReason::HeaderMissing) }
}
