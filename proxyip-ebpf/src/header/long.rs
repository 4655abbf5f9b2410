//! A header that is longer than what is kept: its end is read from the segments that bring it, and skipped.

use proxyip_common::{
    counter::DropReason,
    header::{LONGEST, MAX_LENGTH, long::Long},
};

use super::reading::{Loaded, Read, decode, encode, load, parse_step};
use crate::{
    frame::segment::Segment,
    kernel::{
        bindings::__sk_buff,
        helpers::bpf_skb_load_bytes,
        memory::room,
        packet::Buffered,
        verified::{Code, bounded},
    },
};

/// Bytes that one call of [`read_some`] reads.
const SOME: usize = 256;
/// Bytes that are loaded at once behind those that are kept.
const CHUNK: usize = 2048;
/// Rounds for the longest header: in each, some bytes are read or a chunk is loaded.
const ROUNDS: u32 = (LONGEST / SOME + 2 * (LONGEST / CHUNK) + 4) as u32;

/// Reads on in the header, whose beginning is loaded.
///
/// # Errors
/// As of [`read`](super::read). If the header is incomplete, [`Read::loaded`] counts all bytes that have come.
#[inline(never)]
pub fn read(packet: &impl Buffered, segment: &Segment, header: &Read) -> Result<(), DropReason> {
    let kept = header.kept.get();
    load(packet, segment, header, MAX_LENGTH.wrapping_sub(kept))?;
    let before = kept.wrapping_sub(header.skipped.get());
    header.rest.base.set((segment.tcp + segment.header).wrapping_sub(before));
    header.rest.end.set(before.wrapping_add(segment.payload));
    decode(read_rest(packet.buffer()))?;
    // SAFETY: nobody else has a reference to it.
    if !unsafe { header.long.get() }.is_whole() {
        return Err(DropReason::HeaderIncomplete);
    }
    // SAFETY: nobody else has a reference to the parser.
    unsafe { header.parser.get_mut() }.restart();
    decode(parse_step())?;
    Ok(())
}

// Exported, like the steps of the grammar: the verifier walks them once.

/// Reads what has come of the header.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_rest(skb: *mut __sk_buff) -> Code {
    for _ in 0..ROUNDS {
        let mut code = read_some();
        if code == 0 {
            code = load_rest(skb);
            if code == 0 {
                return 0;
            }
        }
        if code < 0 {
            return code;
        }
    }
    0
}

/// Loads the next bytes behind those that are kept; 0 if there are none, or none that belong to the header.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn load_rest(skb: *mut __sk_buff) -> Code {
    let Some(header) = room::<Read>() else { return 0 };
    // SAFETY: nobody writes to it meanwhile.
    let long = unsafe { header.long.get() };
    let at = header.loaded.get();
    if long.is_whole() || at >= header.rest.end.get() {
        return 0;
    }
    let left = header.rest.end.get().wrapping_sub(at);
    let Some(length) = bounded::<CHUNK>(left.min(CHUNK)) else { return 0 };
    // SAFETY: the second half of the bytes is longer than `length`.
    let loaded = unsafe {
        let from = header.rest.base.get().wrapping_add(at);
        let to = header.bytes.words().cast::<u8>().add(MAX_LENGTH);
        bpf_skb_load_bytes(skb.cast(), from as u32, to.cast(), length as u32)
    };
    if loaded != 0 {
        return encode(Err(DropReason::Checksum));
    }
    header.rest.at.set(at);
    header.loaded.set(at.wrapping_add(length));
    1
}

/// Reads some of the bytes that are loaded; 0 if there are none left, or the header is whole.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_some() -> Code {
    for _ in 0..SOME {
        let code = read_byte();
        if code <= 0 {
            return code;
        }
    }
    1
}

/// Reads the next byte that is loaded; 0 as above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_byte() -> Code {
    let Some(header) = room::<Read>() else { return 0 };
    // SAFETY: nobody else has a reference to it.
    let long = unsafe { header.long.get_mut() };
    if !long.has_begun() {
        let loaded = Loaded::new(&header.bytes, header.loaded.get());
        match Long::begin(&loaded) {
            Ok(begun) => *long = begun,
            Err(reason) => return encode(Err(reason)),
        }
    }
    let at = long.read() as usize;
    if long.is_whole() || at >= header.loaded.get() {
        return 0;
    }
    match long.push(header.byte(at)) {
        Ok(_) => 1,
        Err(reason) => encode(Err(reason)),
    }
}
