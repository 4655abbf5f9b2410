//! Version 1, the text line (§2.1).
//!
//! The line is read byte by byte by a state machine whose state is all in [`Line`]. A step takes several bytes.

use core::hint::black_box;

use self::line::{AFTER_UNKNOWN, Line};
use super::{error::HeaderError, parsed::Header, source::Source};

mod address;
pub(super) mod line;

pub use line::MAX_LENGTH;

/// What every version 1 header begins with.
pub const SIGNATURE: &[u8; 6] = b"PROXY ";

/// Begins a header whose signature has been seen.
#[inline(always)]
pub(super) fn begin<S: Source + ?Sized>(source: &S, line: &mut Line) -> Result<bool, HeaderError> {
    let protocol = source.read::<5>(SIGNATURE.len());
    if protocol == Some(*b"TCP4 ") {
        *line = Line::new(4);
    } else if protocol == Some(*b"TCP6 ") {
        *line = Line::new(6);
    } else {
        check_unknown(source)?;
        *line = Line::unknown();
    }
    Ok(true)
}

/// How many bytes a step takes.
const BYTES: usize = 8;

/// Takes the next bytes.
#[inline(always)]
pub(super) fn step<S: Source + ?Sized>(
    source: &S,
    line: &mut Line,
    header: &mut Header,
) -> Result<bool, HeaderError> {
    for _ in 0..BYTES {
        // Opaque: between two bytes the state is in memory, which the verifier does not track. In registers it would have the
        // verifier walk each combination.
        let line = black_box(&mut *line);
        if line.next(source)? {
            line.write(header);
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the protocol is `UNKNOWN`, alone or followed by what the receiver ignores.
#[inline(always)]
fn check_unknown<S: Source + ?Sized>(source: &S) -> Result<(), HeaderError> {
    let Some(protocol) = source.read::<7>(SIGNATURE.len()) else {
        return Err(short(source));
    };
    if protocol != *b"UNKNOWN" {
        return Err(HeaderError::V1Family);
    }
    match source.read::<1>(AFTER_UNKNOWN) {
        Some([b' ' | b'\r']) => Ok(()),
        Some(_) => Err(HeaderError::V1Family),
        None => Err(HeaderError::Incomplete),
    }
}

/// The verdict on a protocol field that is cut off.
#[inline(always)]
fn short<S: Source + ?Sized>(source: &S) -> HeaderError {
    for index in 0..AFTER_UNKNOWN - SIGNATURE.len() {
        let Some([byte]) = source.read::<1>(SIGNATURE.len() + index) else { break };
        let possible = b"UNKNOWN".get(index) == Some(&byte)
            || b"TCP4 ".get(index) == Some(&byte)
            || b"TCP6 ".get(index) == Some(&byte);
        if !possible {
            return HeaderError::V1Family;
        }
    }
    HeaderError::Incomplete
}
