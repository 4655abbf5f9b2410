//! Error numbers, and sums as the kernel computes them.

pub(crate) const ENOENT: i64 = -2;
pub(crate) const E2BIG: i64 = -7;
pub(crate) const ENOMEM: i64 = -12;
pub(crate) const EACCES: i64 = -13;
pub(crate) const EFAULT: i64 = -14;
pub(crate) const EINVAL: i64 = -22;
pub(crate) const ENOTSUPP: i64 = -524;

/// The Internet checksum's sum of these bytes, the last one padded with zero; words as they lie in memory.
pub(crate) fn sum(bytes: &[u8]) -> u32 {
    let mut sum = 0_u64;
    for word in bytes.chunks(2) {
        let second = word.get(1).copied().unwrap_or(0);
        sum += u64::from(u16::from_ne_bytes([word[0], second]));
    }
    u32::from(fold(sum))
}

/// Folds a sum to 16 bits.
pub(crate) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// One's complement addition (`csum_add()`).
pub(crate) fn add(left: u32, right: u32) -> u32 {
    let (sum, carry) = left.overflowing_add(right);
    sum + u32::from(carry)
}

/// Whether two sums are the same number: one's complement has two zeros.
pub(crate) fn same(left: u32, right: u32) -> bool {
    fold(left.into()) % 0xffff == fold(right.into()) % 0xffff
}
