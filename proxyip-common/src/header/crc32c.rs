//! CRC32C (RFC 3720 appendix B.4), as the header's checksum TLV wants it (§2.2.3).

use core::hint::black_box;

use super::source::{MAX_LENGTH, Source};

/// Reflected Castagnoli polynomial.
const POLYNOMIAL: u32 = 0x82f6_3b78;

static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

/// The checksum with one more byte; it begins as `u32::MAX`, and its complement counts.
#[inline(always)]
pub(super) fn update(crc: u32, byte: u8) -> u32 {
    // Opaque, so that the index is cut to a byte last: old verifiers know nothing of what XOR yields.
    let index = black_box(crc ^ u32::from(byte)) as u8;
    TABLE[usize::from(index)] ^ crc >> 8
}

/// Bytes that are taken at once where there are as many.
const CHUNK: usize = 16;
/// Bytes of the field that holds the checksum.
const FIELD: usize = 4;

/// Chunks, single bytes before the field, in it and behind it, and the last step.
pub(super) const MAX_STEPS: u32 = (MAX_LENGTH / CHUNK + 2 * CHUNK + FIELD + 1) as u32;

/// The checksum so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum {
    crc: u32,
    at: usize,
    end: usize,
    field: usize,
}

impl Sum {
    pub(super) const START: Self = Self { crc: u32::MAX, at: 0, end: 0, field: 0 };

    /// Of the first `length` bytes, the four at `field` taken as zero.
    #[inline(always)]
    pub(super) const fn new(length: usize, field: usize) -> Self {
        Self { end: length, field, ..Self::START }
    }

    /// Adds some bytes; the checksum if there are none left.
    #[inline(always)]
    pub(super) fn step<S: Source + ?Sized>(&mut self, source: &S) -> Option<u32> {
        if self.at >= self.end {
            return Some(!self.crc);
        }
        let next = self.at + CHUNK;
        if next <= self.field || next <= self.end && self.at >= self.field + FIELD {
            for _ in 0..CHUNK {
                self.add(source.byte(self.at));
            }
        } else if self.at.wrapping_sub(self.field) < FIELD {
            self.add(0);
        } else {
            self.add(source.byte(self.at));
        }
        None
    }

    #[inline(always)]
    fn add(&mut self, byte: u8) {
        self.crc = update(self.crc, byte);
        self.at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checksum(bytes: [u8; 32], field: usize) -> u32 {
        let mut sum = Sum::new(32, field);
        loop {
            if let Some(checksum) = sum.step(&bytes[..]) {
                return checksum;
            }
        }
    }

    /// Vectors of RFC 3720 appendix B.4; the field lies outside the bytes.
    #[test]
    fn rfc_vectors() {
        let ascending: [u8; 32] = core::array::from_fn(|i| u8::try_from(i).unwrap());
        for (bytes, expected) in
            [([0; 32], 0x8a91_36aa), ([0xff; 32], 0x62a8_ab43), (ascending, 0x46dd_794e)]
        {
            assert_eq!(checksum(bytes, 32), expected);
        }
    }

    #[test]
    fn field_counts_as_zero() {
        for field in 0..=28 {
            let mut bytes = [0; 32];
            bytes[field..field + 4].copy_from_slice(&[1, 2, 3, 4]);
            assert_eq!(checksum(bytes, field), 0x8a91_36aa);
        }
    }
}
