//! CRC32C (RFC 3720 appendix B.4), as the header's checksum TLV wants it (§2.2.3).

use core::ops::ControlFlow;

use super::{MAX_LENGTH, Source};

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

/// Working memory of [`checksum`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    crc: u32,
    at: usize,
    end: usize,
    field: usize,
}

/// The checksum of the first `length` bytes, the four at `field` taken as zero.
#[inline(always)]
pub(super) fn checksum<S: Source + ?Sized>(
    source: &S,
    sum: &mut Sum,
    length: usize,
    field: usize,
) -> u32 {
    *sum = Sum { crc: u32::MAX, at: 0, end: length, field };
    source.repeat(MAX_LENGTH as u32, sum, |source, sum| {
        if sum.at >= sum.end {
            return ControlFlow::Break(());
        }
        let Some([byte]) = source.read::<1>(sum.at) else { return ControlFlow::Break(()) };
        let byte = if sum.at.wrapping_sub(sum.field) < 4 { 0 } else { byte };
        sum.crc = TABLE[usize::from(sum.crc as u8 ^ byte)] ^ sum.crc >> 8;
        sum.at += 1;
        ControlFlow::Continue(())
    });
    !sum.crc
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of RFC 3720 appendix B.4; the field lies outside the bytes.
    #[test]
    fn rfc_vectors() {
        let ascending: [u8; 32] = core::array::from_fn(|i| u8::try_from(i).unwrap());
        for (bytes, expected) in
            [([0; 32], 0x8a91_36aa), ([0xff; 32], 0x62a8_ab43), (ascending, 0x46dd_794e)]
        {
            assert_eq!(checksum(&bytes[..], &mut Sum::default(), 32, 4000), expected);
        }
    }

    #[test]
    fn field_counts_as_zero() {
        let mut bytes = [0; 32];
        bytes[8..12].copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(checksum(&bytes[..], &mut Sum::default(), 32, 8), 0x8a91_36aa);
    }
}
