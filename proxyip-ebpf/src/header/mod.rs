//! The header in the payload of the first segments: copied, measured, read.

pub mod intact;
mod long;
mod reading;

use proxyip_common::{
    counter::DropReason,
    header::{MAX_LENGTH, Parser, Version, long::Long, v2, version},
};

use crate::{
    frame::segment::Segment,
    kernel::{memory::room, packet::Buffered, verified::Code},
};

pub use reading::Read;
use reading::{Loaded, decode, encode, load, parse_step};

/// What is copied at first: any version 1 header, and nearly every version 2 header, whole.
const FIRST: usize = 256;

/// Reads the header that ends in `segment`. [`Read::kept`] of its bytes came before.
///
/// # Errors
/// Why the connection must be refused. [`DropReason::HeaderIncomplete`] if all the bytes so far could begin a header:
/// then all of them are loaded.
#[inline(always)]
pub fn read(packet: &impl Buffered, segment: &Segment, header: &Read) -> Result<(), DropReason> {
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
