//! Reading a header in steps.

use super::{crc32c, error::HeaderError, parsed::Header, source::Source, v1, v2};

/// What the next step does.
mod phase {
    pub(super) const START: u8 = 0;
    pub(super) const LINE: u8 = 1;
    pub(super) const TLVS: u8 = 2;
    pub(super) const CHECKSUM: u8 = 3;
}

/// The state of reading one header of at most [`MAX_LENGTH`](super::MAX_LENGTH) bytes.
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
    /// The [`HeaderError`] of the first rule that the bytes break; [`HeaderError::Incomplete`] if all
    /// present bytes could begin a header.
    #[inline(always)]
    pub fn step<S: Source + ?Sized>(&mut self, source: &S) -> Result<bool, HeaderError> {
        match self.phase {
            phase::START => match version(source)? {
                Version::V1 => {
                    self.phase = phase::LINE;
                    v1::begin(source, &mut self.line)
                }
                Version::V2 => {
                    self.phase = phase::TLVS;
                    v2::begin(source, &mut self.walk, &mut self.header)
                }
            },
            phase::LINE => v1::step(source, &mut self.line, &mut self.header),
            phase::TLVS => {
                if v2::step(source, &mut self.walk)? {
                    return Ok(true);
                }
                self.phase = phase::CHECKSUM;
                Ok(v2::begin_checksum(&self.walk, &mut self.checksum))
            }
            _ => v2::step_checksum(source, &self.walk, &mut self.checksum),
        }
    }
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
/// [`HeaderError::Missing`] as soon as a byte differs from both signatures,
/// [`HeaderError::Incomplete`] while the bytes present agree with one of them.
#[inline(always)]
pub fn version<S: Source + ?Sized>(source: &S) -> Result<Version, HeaderError> {
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
        return Err(HeaderError::Incomplete);
    }
    Err(HeaderError::Missing)
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
