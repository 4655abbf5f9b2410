//! Error numbers, and sums as the kernel computes them.

pub(super) const ENOENT: i64 = -2;
pub(super) const E2BIG: i64 = -7;
pub(super) const ENOMEM: i64 = -12;
pub(super) const EACCES: i64 = -13;
pub(super) const EFAULT: i64 = -14;
pub(super) const EINVAL: i64 = -22;
pub(super) const ENOTSUPP: i64 = -524;

/// The Internet checksum's sum of these bytes, the last one padded with zero; words as they lie in memory.
pub(super) fn sum(bytes: &[u8]) -> u32 {
    let mut sum = 0_u64;
    for word in bytes.chunks(2) {
        let second = word.get(1).copied().unwrap_or(0);
        sum += u64::from(u16::from_ne_bytes([word[0], second]));
    }
    u32::from(fold(sum))
}

/// Folds a sum to 16 bits.
pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// One's complement addition (`csum_add()`).
pub(super) fn add(left: u32, right: u32) -> u32 {
    let (sum, carry) = left.overflowing_add(right);
    sum + u32::from(carry)
}

/// Whether two sums are the same number: one's complement has two zeros.
pub(super) fn same(left: u32, right: u32) -> bool {
    fold(left.into()) % 0xffff == fold(right.into()) % 0xffff
}
