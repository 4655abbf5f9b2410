//! Version 2, the binary header (§2.2).

use super::{
    crc32c::Sum,
    error::HeaderError,
    parsed::Header,
    source::{MAX_LENGTH, Source},
};
use crate::address::{Client, Destination, Endpoint};
use crate::flow::Origin;

/// The 12 bytes every version 2 header begins with.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and transport, length.
pub const FIXED_LENGTH: usize = 16;

const COMMAND_LOCAL: u8 = 0;
const COMMAND_PROXY: u8 = 1;

const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
const UDP_OVER_IPV4: u8 = 0x12;
const UDP_OVER_IPV6: u8 = 0x22;
const UNIX_STREAM: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;
/// The bits of the transport, and `DGRAM` there.
const TRANSPORT: u8 = 0xf;
const DATAGRAM: u8 = 2;
/// `AF_UNSPEC`, with any transport that exists.
const UNSPECIFIED_LAST: u8 = 0x02;

const IPV4_LENGTH: usize = 12;
const IPV6_LENGTH: usize = 36;
const UNIX_LENGTH: usize = 216;

/// `PP2_TYPE_CRC32C`.
pub(super) const TYPE_CRC32C: u8 = 0x03;
/// As many empty TLVs as a header can hold, and one.
pub(super) const MAX_TLVS: u32 = ((MAX_LENGTH - FIXED_LENGTH) / 3 + 1) as u32;

/// The length of the whole header in bytes, as its fixed part announces it.
///
/// # Errors
/// [`HeaderError::V2Version`], [`HeaderError::V2Command`], [`HeaderError::V2Family`] for a fixed part that no
/// length could make right; [`HeaderError::Incomplete`] if the fixed part is not all there.
#[inline(always)]
pub fn length<S: Source + ?Sized>(source: &S) -> Result<usize, HeaderError> {
    let [version_command, family, high, low] =
        source.read::<4>(SIGNATURE.len()).ok_or(HeaderError::Incomplete)?;
    if version_command >> 4 != 2 {
        return Err(HeaderError::V2Version);
    }
    match version_command & 0xf {
        // The receiver discards the rest, for every family.
        COMMAND_LOCAL => {}
        COMMAND_PROXY => match family {
            ..=UNSPECIFIED_LAST
            | TCP_OVER_IPV4
            | TCP_OVER_IPV6
            | UDP_OVER_IPV4
            | UDP_OVER_IPV6
            | UNIX_STREAM
            | UNIX_DATAGRAM => {}
            _ => return Err(HeaderError::V2Family),
        },
        _ => return Err(HeaderError::V2Command),
    }
    Ok(FIXED_LENGTH + usize::from(u16::from_be_bytes([high, low])))
}

/// Where the TLVs begin in a header whose fixed part is there and right; `None` if nothing is read behind that part.
#[inline(always)]
pub(super) fn tlvs_at<S: Source + ?Sized>(source: &S) -> Option<usize> {
    let [version_command, family] = source.read::<2>(SIGNATURE.len())?;
    let addresses = match family {
        TCP_OVER_IPV4 | UDP_OVER_IPV4 => IPV4_LENGTH,
        TCP_OVER_IPV6 | UDP_OVER_IPV6 => IPV6_LENGTH,
        UNIX_STREAM | UNIX_DATAGRAM => UNIX_LENGTH,
        _ => return None,
    };
    (version_command & 0xf != COMMAND_LOCAL).then_some(FIXED_LENGTH + addresses)
}

/// The walk over the TLVs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    /// Offset of the TLV to be read.
    at: usize,
    /// Length of the header.
    end: usize,
    /// Offset of the checksum's value; 0 while there is none.
    checksum_at: usize,
    /// The checksum's value, host order.
    checksum: u32,
}

impl Walk {
    pub(super) const START: Self = Self { at: 0, end: 0, checksum_at: 0, checksum: 0 };
}

/// Begins a header whose signature has been seen: reads everything before the TLVs.
#[inline(always)]
pub(super) fn begin<S: Source + ?Sized>(
    source: &S,
    walk: &mut Walk,
    header: &mut Header,
) -> Result<bool, HeaderError> {
    let length = length(source)?;
    // Nothing behind it is read here, and of a long header no more is kept.
    if length.min(MAX_LENGTH) > source.length() {
        return Err(HeaderError::Incomplete);
    }
    let [version_command, family] =
        source.read::<2>(SIGNATURE.len()).ok_or(HeaderError::Incomplete)?;
    *walk = Walk { at: length, end: length, ..Walk::START };
    *header = Header { version: 2, length: length as u32, tlvs: length as u32, ..Header::EMPTY };
    if version_command & 0xf == COMMAND_LOCAL {
        header.origin = Origin::Local;
        return Ok(false);
    }
    header.datagram = family & TRANSPORT == DATAGRAM;
    let Some(tlvs) = tlvs_at(source) else { return Ok(false) };
    if length < tlvs {
        return Err(HeaderError::V2Length);
    }
    walk.at = tlvs;
    header.tlvs = tlvs as u32;
    if let Some((client, destination)) = client_and_destination(source, family) {
        header.origin = Origin::Proxied;
        header.client = client;
        header.destination = destination;
    }
    Ok(true)
}

#[inline(always)]
fn client_and_destination<S: Source + ?Sized>(
    source: &S,
    family: u8,
) -> Option<(Client, Destination)> {
    let at = FIXED_LENGTH;
    let (client, destination) = match family {
        TCP_OVER_IPV4 | UDP_OVER_IPV4 => (
            Endpoint::from_v4(source.read(at)?, source.read(at + 8)?),
            Endpoint::from_v4(source.read(at + 4)?, source.read(at + 10)?),
        ),
        TCP_OVER_IPV6 | UDP_OVER_IPV6 => (
            Endpoint::from_v6(source.read(at)?, source.read(at + 32)?),
            Endpoint::from_v6(source.read(at + 16)?, source.read(at + 34)?),
        ),
        _ => return None,
    };
    Some((Client(client), Destination(destination)))
}

/// Checks the next TLV; false if there is none left.
#[inline(always)]
pub(super) fn step<S: Source + ?Sized>(source: &S, walk: &mut Walk) -> Result<bool, HeaderError> {
    if walk.at >= walk.end {
        return Ok(false);
    }
    let [kind, high, low] = source.read::<3>(walk.at).ok_or(HeaderError::V2Tlv)?;
    let value = walk.at + 3;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if value + length > walk.end {
        return Err(HeaderError::V2Tlv);
    }
    walk.at = value + length;
    if kind == TYPE_CRC32C {
        // With two checksums, each would cover the other's field: no sender does this.
        if length != 4 || walk.checksum_at != 0 {
            return Err(HeaderError::V2Checksum);
        }
        walk.checksum_at = value;
        let announced = source.read::<4>(value).ok_or(HeaderError::V2Tlv)?;
        walk.checksum = u32::from_be_bytes(announced);
    }
    Ok(true)
}

/// Begins to verify the checksum; false if there is none.
#[inline(always)]
pub(super) fn begin_checksum(walk: &Walk, checksum: &mut Sum) -> bool {
    *checksum = Sum::new(walk.end, walk.checksum_at);
    walk.checksum_at != 0
}

/// Verifies the checksum a little further.
#[inline(always)]
pub(super) fn step_checksum<S: Source + ?Sized>(
    source: &S,
    walk: &Walk,
    checksum: &mut Sum,
) -> Result<bool, HeaderError> {
    match checksum.step(source) {
        None => Ok(true),
        Some(computed) if computed == walk.checksum => Ok(false),
        Some(_) => Err(HeaderError::V2Checksum),
    }
}
