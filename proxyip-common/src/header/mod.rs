//! The PROXY protocol grammar, versions 1 and 2.
//!
//! Source: the PROXY protocol specification, `doc/proxy-protocol.txt` in the HAProxy repository
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>); sections are cited by number.
//!
//! The kernel programs and the agent run this same code. For the sake of the BPF verifier it reads its
//! input through [`Source`], never holds a reference into it, lets the source run its loops, and keeps what
//! changes in a loop in [`Memory`]. In the kernel that is map memory, whose contents the verifier does not
//! track: it then walks a loop's body once, not once for each history that can lead there.

use core::ops::ControlFlow;

use crate::address::{Client, Destination};
use crate::counter::DropReason;
use crate::flow::Origin;

mod crc32c;
#[cfg(test)]
mod tests;
pub mod tlv;
pub mod v1;
pub mod v2;

/// The longest header that is read, in bytes, of either version.
pub const MAX_LENGTH: usize = 4096;

/// The bytes that a header is read from: the start of a connection's payload.
pub trait Source {
    /// How many bytes there are.
    fn length(&self) -> usize;

    /// The `N` bytes at `offset`; `None` if they are not all there.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Calls `step` with `state` until it returns [`ControlFlow::Break`], at most `times` times.
    #[inline(always)]
    fn repeat<T, F>(&self, times: u32, state: &mut T, step: F)
    where
        F: Fn(&Self, &mut T) -> ControlFlow<()>,
    {
        for _ in 0..times {
            if step(self, state).is_break() {
                break;
            }
        }
    }
}

/// Working memory of the parsers, of any content.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    line: v1::line::Line,
    walk: v2::Walk,
    checksum: crc32c::Sum,
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
    /// 1 or 2.
    pub version: u8,
    /// What the header says of the client.
    pub origin: Origin,
    /// Bytes of the whole header; the application's first byte is at this offset.
    pub length: u16,
    /// Offset of the first TLV; equal to `length` where there are none.
    pub tlvs: u16,
    /// The client, if the origin is [`Origin::Proxied`].
    pub client: Client,
    /// The address the client connected to, likewise.
    pub destination: Destination,
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
/// The [`DropReason`] of the first rule that the bytes break; [`DropReason::HeaderIncomplete`] if all
/// present bytes could begin a header.
pub fn parse<S: Source + ?Sized>(source: &S) -> Result<Header, DropReason> {
    let mut memory = Memory::default();
    match version(source)? {
        Version::V1 => v1::parse(source, &mut memory),
        Version::V2 => v2::parse(source, &mut memory),
    }
}

/// Whether the source is shorter than the signature and agrees with it as far as it goes.
#[inline(always)]
fn begins<S: Source + ?Sized, const N: usize>(source: &S, signature: &[u8; N]) -> bool {
    if source.length() >= N {
        return false;
    }
    for (offset, expected) in signature.iter().enumerate() {
        match source.read::<1>(offset) {
            Some([byte]) if byte != *expected => return false,
            Some(_) => {}
            None => return true,
        }
    }
    true
}
