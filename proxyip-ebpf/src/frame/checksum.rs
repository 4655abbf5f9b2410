//! The Internet checksum (RFC 1071) of headers built here. Sums are of 16-bit words as they lie in memory.

use proxyip_common::address::Endpoint;

use crate::frame::{segment::Segment, tcp::PROTOCOL_TCP};

/// The sum of the `N` bytes at `at`, both multiples of two and constants.
#[inline(always)]
pub fn sum<const N: usize, const M: usize>(bytes: &[u8; M], at: usize) -> u64 {
    let mut sum = 0;
    for word in bytes[at..at + N].chunks_exact(2) {
        sum += u64::from(u16::from_ne_bytes([word[0], word[1]]));
    }
    sum
}

/// Folds a sum to 16 bits, end-around carry included.
#[inline(always)]
pub fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The sum of the pseudo-header for `length` bytes of TCP between the ends of `segment`.
///
/// It is the same for both families: the prefix of an IPv4-mapped address adds 0xffff, which is zero in
/// one's complement; and a 32-bit word adds what its halves would.
#[inline(always)]
pub fn pseudo_header(segment: &Segment, length: usize) -> u64 {
    let words = |endpoint: &Endpoint| {
        let [first, second, third, fourth] = endpoint.words();
        u64::from(first) + u64::from(second) + u64::from(third) + u64::from(fourth)
    };
    words(&segment.local.0)
        + words(&segment.peer.0)
        + u64::from((length as u16).to_be())
        + u64::from(u16::from(PROTOCOL_TCP).to_be())
}

/// Puts `from` at the constant `at` of `to`.
#[inline(always)]
pub fn copy<const N: usize, const M: usize>(to: &mut [u8; M], at: usize, from: [u8; N]) {
    to[at..at + N].copy_from_slice(&from);
}
