//! An address in a version 1 line, while it is read.

use super::super::error::HeaderError;

/// No `::` seen yet.
pub(super) const NO_GAP: u8 = 0xff;
/// Bytes before the IPv4 address in an IPv4-mapped one (RFC 4291 §2.5.5.2).
pub(super) const MAPPED: u8 = 12;

/// The part of an address that has been read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    /// Network order; without what `::` stands for.
    pub(super) bytes: [u8; 16],
    /// How many there are so far.
    pub(super) filled: u8,
    /// How many of them come before the `::`.
    pub(super) gap: u8,
}

impl Text {
    pub(super) const EMPTY: Self = Self { bytes: [0; 16], filled: 0, gap: NO_GAP };

    /// Writes what comes before an IPv4 address.
    #[inline(always)]
    pub(super) fn map(&mut self) {
        self.bytes[10] = 0xff;
        self.bytes[11] = 0xff;
        self.filled = MAPPED;
    }

    #[inline(always)]
    pub(super) fn put(&mut self, byte: u8) -> Result<(), HeaderError> {
        if self.filled >= 16 {
            return Err(HeaderError::V1Address);
        }
        // The mask changes nothing; it shows the verifier the bound.
        self.bytes[usize::from(self.filled & 15)] = byte;
        self.filled += 1;
        Ok(())
    }

    /// Whether all of an address is there; `::` stands for one group at least.
    #[inline(always)]
    pub(super) const fn is_whole(&self) -> bool {
        if self.gap == NO_GAP { self.filled == 16 } else { self.filled <= 14 }
    }

    /// Moves what follows `::` to the end.
    #[inline(always)]
    pub(super) fn expand(&mut self) {
        if self.gap == NO_GAP {
            return;
        }
        let moved = usize::from(self.filled.wrapping_sub(self.gap));
        for step in 1..=14 {
            if step > moved {
                break;
            }
            let from = usize::from(self.filled).wrapping_sub(step) & 15;
            self.bytes[16 - step] = self.bytes[from];
            self.bytes[from] = 0;
        }
    }
}
