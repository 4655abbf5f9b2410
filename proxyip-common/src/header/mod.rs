//! The PROXY protocol grammar, versions 1 and 2.
//!
//! Source: the PROXY protocol specification, `doc/proxy-protocol.txt` in the HAProxy repository
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>); sections are cited by number.
//!
//! The kernel programs and the agent run this same code. Its form serves the BPF verifier. It reads its input through
//! [`Source`] and never holds a reference into it. It works in steps ([`Parser::step`]), and the [`Parser`] holds all
//! that changes. The kernel programs call the step as a global function: the verifier checks it once, not once for
//! each history that can lead there.

use crate::address::{Client, Destination, Endpoint};
use crate::counter::DropReason;
use crate::flow::Origin;

mod crc32c;
pub mod long;
#[cfg(test)]
mod tests;
pub mod tlv;
pub mod v1;
pub mod v2;

/// The longest header that is read as a whole, in bytes, of either version. Of a [`long`] one as many are kept.
pub const MAX_LENGTH: usize = 4096;
/// The longest header that there can be, in bytes.
pub const LONGEST: usize = v2::FIXED_LENGTH + 0xffff;

/// The bytes that a header is read from: the start of a connection's payload.
pub trait Source {
    /// How many bytes there are.
    fn length(&self) -> usize;

    /// The `N` bytes at `offset`; `None` if they are not all there.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// The byte at `offset`, which is there; of any value if it is not.
    #[inline(always)]
    fn byte(&self, offset: usize) -> u8 {
        self.read::<1>(offset).map_or(0, |[byte]| byte)
    }
}

/// What the next step does.
mod phase {
    pub(super) const START: u8 = 0;
    pub(super) const LINE: u8 = 1;
    pub(super) const TLVS: u8 = 2;
    pub(super) const CHECKSUM: u8 = 3;
}

/// The state of reading one header of at most [`MAX_LENGTH`] bytes.
#[derive(Clone, Copy, Debug)]
pub struct Parser {
    /// The header; whole when the last step has been done.
    pub header: Header,
    phase: u8,
    line: v1::line::Line,
    walk: v2::Walk,
    checksum: crc32c::Sum,
}

impl Parser {
    /// Before the first byte.
    pub const START: Self = Self {
        header: Header::EMPTY,
        phase: phase::START,
        line: v1::line::Line::unknown(),
        walk: v2::Walk::START,
        checksum: crc32c::Sum::START,
    };

    /// More steps than any header takes.
    pub const MAX_STEPS: u32 = v2::MAX_TLVS + crc32c::MAX_STEPS + 4;

    /// Begins a new header.
    #[inline(always)]
    pub fn restart(&mut self) {
        self.phase = phase::START;
    }

    /// Does one step; whether another must follow.
    ///
    /// # Errors
    /// The [`DropReason`] of the first rule that the bytes break; [`DropReason::HeaderIncomplete`] if all
    /// present bytes could begin a header.
    #[inline(always)]
    pub fn step<S: Source + ?Sized>(&mut self, source: &S) -> Result<bool, DropReason> {
        match self.phase {
            phase::START => match version(source)? {
                Version::V1 => {
                    self.phase = phase::LINE;
                    v1::begin(source, self)
                }
                Version::V2 => {
                    self.phase = phase::TLVS;
                    v2::begin(source, self)
                }
            },
            phase::LINE => v1::step(source, self),
            phase::TLVS => {
                if v2::step(source, self)? {
                    return Ok(true);
                }
                self.phase = phase::CHECKSUM;
                Ok(v2::begin_checksum(self))
            }
            _ => v2::step_checksum(source, self),
        }
    }
}

impl Source for [u8] {
    #[inline(always)]
    fn length(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }
}

/// A header that was read in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// 1 or 2; 0 of [`Header::NONE`].
    pub version: u8,
    /// What the header says of the client.
    pub origin: Origin,
    /// The header announces datagrams. A proxy of UDP writes so when its back end speaks TCP (DNS).
    pub datagram: bool,
    /// Bytes of the whole header; the application's first byte is at this offset.
    pub length: u32,
    /// Offset of the first TLV; equal to `length` where there are none.
    pub tlvs: u32,
    /// The client, if the origin is [`Origin::Proxied`].
    pub client: Client,
    /// The address the client connected to, if the origin is [`Origin::Proxied`].
    pub destination: Destination,
}

impl Header {
    /// A header before anything is known about it.
    pub const EMPTY: Self = Self {
        version: 0,
        origin: Origin::Unknown,
        datagram: false,
        length: 0,
        tlvs: 0,
        client: Client(Endpoint::UNSPECIFIED),
        destination: Destination(Endpoint::UNSPECIFIED),
    };
    /// Of a connection of the load balancer's own that has no header.
    pub const NONE: Self = Self { origin: Origin::Local, ..Self::EMPTY };
}

/// Which version the bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The text `PROXY `.
    V1,
    /// The 12 bytes of the binary signature.
    V2,
}

/// Tells the version from the first bytes (§2: at least 8 bytes for version 1, 12 for version 2).
///
/// # Errors
/// [`DropReason::HeaderMissing`] as soon as a byte differs from both signatures,
/// [`DropReason::HeaderIncomplete`] while the bytes present agree with one of them.
#[inline(always)]
pub fn version<S: Source + ?Sized>(source: &S) -> Result<Version, DropReason> {
    if let Some(start) = source.read::<12>(0)
        && start == v2::SIGNATURE
    {
        return Ok(Version::V2);
    }
    if let Some(start) = source.read::<6>(0)
        && start == *v1::SIGNATURE
    {
        return Ok(Version::V1);
    }
    if begins(source, v1::SIGNATURE) || begins(source, &v2::SIGNATURE) {
        return Err(DropReason::HeaderIncomplete);
    }
    Err(DropReason::HeaderMissing)
}

/// Reads the header at the start of a connection's payload.
///
/// # Errors
/// Those of [`Parser::step`].
pub fn parse<S: Source + ?Sized>(source: &S) -> Result<Header, DropReason> {
    if version(source)? == Version::V2 && v2::length(source)? > MAX_LENGTH {
        return long::parse(source);
    }
    let mut parser = Parser::START;
    while parser.step(source)? {}
    Ok(parser.header)
}

/// Whether the source is shorter than the signature and is a prefix of it.
#[inline(always)]
fn begins<S: Source + ?Sized, const N: usize>(source: &S, signature: &[u8; N]) -> bool {
    if source.length() >= N {
        return false;
    }
    for (offset, expected) in signature.iter().enumerate() {
        if let Some([byte]) = source.read::<1>(offset)
            && byte != *expected
        {
            return false;
        }
    }
    true
}
