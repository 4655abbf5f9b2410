//! Version 1, the text line (§2.1).
//!
//! The line is read byte by byte by a state machine whose state is all in [`Line`].

use self::line::Line;
use super::{Parser, Source};
use crate::counter::DropReason;

pub(super) mod line;

/// What every version 1 header begins with.
pub const SIGNATURE: &[u8; 6] = b"PROXY ";

/// The longest line in bytes, CRLF included.
pub const MAX_LENGTH: usize = 107;

/// Where `TCP4 ` and `TCP6 ` end.
const ADDRESSES: usize = 11;
/// Where `UNKNOWN` ends.
const AFTER_UNKNOWN: usize = 13;

/// Begins a header whose signature has been seen.
#[inline(always)]
pub(super) fn begin<S: Source + ?Sized>(
    source: &S,
    parser: &mut Parser,
) -> Result<bool, DropReason> {
    let protocol = source.read::<5>(SIGNATURE.len());
    if protocol == Some(*b"TCP4 ") {
        parser.line = Line::new(4);
    } else if protocol == Some(*b"TCP6 ") {
        parser.line = Line::new(6);
    } else {
        check_unknown(source)?;
        parser.line = Line::unknown();
    }
    Ok(true)
}

/// Takes the next byte.
#[inline(always)]
pub(super) fn step<S: Source + ?Sized>(
    source: &S,
    parser: &mut Parser,
) -> Result<bool, DropReason> {
    let ended = parser.line.next(source)?;
    if ended {
        parser.line.write(&mut parser.header);
    }
    Ok(!ended)
}

/// Whether the protocol is `UNKNOWN`, alone or followed by what the receiver ignores.
#[inline(always)]
fn check_unknown<S: Source + ?Sized>(source: &S) -> Result<(), DropReason> {
    let Some(protocol) = source.read::<7>(SIGNATURE.len()) else {
        return Err(short(source));
    };
    if protocol != *b"UNKNOWN" {
        return Err(DropReason::V1Family);
    }
    match source.read::<1>(AFTER_UNKNOWN) {
        Some([b' ' | b'\r']) => Ok(()),
        Some(_) => Err(DropReason::V1Family),
        None => Err(DropReason::HeaderIncomplete),
    }
}

/// The verdict on a protocol field that is cut off.
#[inline(always)]
fn short<S: Source + ?Sized>(source: &S) -> DropReason {
    for index in 0..AFTER_UNKNOWN - SIGNATURE.len() {
        let Some([byte]) = source.read::<1>(SIGNATURE.len() + index) else { break };
        let possible = b"UNKNOWN".get(index) == Some(&byte)
            || b"TCP4 ".get(index) == Some(&byte)
            || b"TCP6 ".get(index) == Some(&byte);
        if !possible {
            return DropReason::V1Family;
        }
    }
    DropReason::HeaderIncomplete
}
