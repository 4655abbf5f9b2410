//! Headers that have begun and are not complete.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::flow::FlowKey;
use crate::header::{MAX_LENGTH, long::Long};

/// A header that has begun in one segment and goes on in another.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct PartialHeader {
    /// When its first bytes came, in nanoseconds of `CLOCK_MONOTONIC`.
    pub since_ns: u64,
    /// Initial sequence number of the peer, host order.
    pub isn: u32,
    /// The sequence number that the peer expects from this host, host order.
    pub expected: u32,
    /// Index of the listener in the configuration, host order.
    pub listener: u16,
    /// A [`HandOff`](crate::flow::HandOff) as its value.
    pub hand_off: u8,
    /// [`PartialHeader::OPEN`] and its siblings.
    pub state: u8,
    /// Zero.
    pub reserved: [u8; 4],
}

impl PartialHeader {
    /// The rest is still to come.
    pub const OPEN: u8 = 0;
    /// The header is complete and its connection handed over, but not established yet.
    pub const COMPLETE: u8 = 1;
    /// The connection has been reset. Should the peer not have heard, it is reset again.
    pub const REFUSED: u8 = 2;
    /// The client is denied and the connection dropped. Later segments of the connection are dropped too.
    pub const DROPPED: u8 = 3;
}

/// The bytes of a header that have come.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
pub struct HeaderBytes {
    /// The flow that the bytes belong to. It lies before the bytes because a reused element is written from its
    /// start. A reader that finds the owner unchanged after copying knows that the bytes are this flow's.
    pub owner: FlowKey,
    /// Initial sequence number of the peer, host order.
    pub isn: u32,
    /// How many have come, host order. Those behind the first [`MAX_LENGTH`] are not kept.
    pub length: u32,
    /// How many of them the peer was told to have arrived, host order.
    pub acknowledged: u32,
    /// Zero.
    pub reserved: u32,
    /// What has been read of them, if the header is a long one.
    pub long: Long,
    /// The bytes, as words.
    pub words: [u64; MAX_LENGTH / 8],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_as_documented() {
        assert_eq!(size_of::<PartialHeader>(), 24);
        assert_eq!(size_of::<HeaderBytes>(), 48 + 16 + 32 + MAX_LENGTH);
    }
}
