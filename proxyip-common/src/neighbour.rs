//! Who is next to an interface: what frames that leave have in their Ethernet headers.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Whose frames: an address behind an interface of a network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
pub struct Neighbour {
    /// The namespace's entry of `NAMESPACES`.
    pub namespace: u32,
    /// The interface's number.
    pub interface: u32,
    /// The address in network byte order; IPv4 as IPv4-mapped IPv6.
    pub address: [u32; 4],
}

/// What a frame to there had last.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Seen {
    /// When: nanoseconds of `CLOCK_MONOTONIC`; 0 for never.
    pub at_ns: u64,
    /// To whom: elements of the table change owners, and nobody who reads one holds it.
    pub address: [u32; 4],
    /// Destination and source of the Ethernet header.
    pub ethernet: [u8; 12],
    /// Zero.
    pub reserved: [u8; 4],
}

impl Seen {
    /// How long it counts, in nanoseconds. The kernel's routing table and its neighbours may change at any moment; what they
    /// say is seen again as soon as an answer takes the ordinary way.
    pub const LIFE_NS: u64 = 1_000_000_000;

    /// Whether it need not be written again yet, because a frame to `address` had this Ethernet header not long ago.
    #[inline(always)]
    #[must_use]
    pub fn is_fresh(&self, address: [u32; 4], ethernet: [u8; 12], now_ns: u64) -> bool {
        self.address == address
            && self.ethernet == ethernet
            && now_ns.wrapping_sub(self.at_ns) < Self::LIFE_NS / 2
    }

    /// Whether a frame with this Ethernet header, in the other direction, comes from whom frames to `address` go to.
    #[inline(always)]
    #[must_use]
    pub fn is_of(
        &self,
        address: [u32; 4],
        [destination, source]: [[u8; 6]; 2],
        now_ns: u64,
    ) -> bool {
        let [a, b, c, d, e, f] = source;
        let [g, h, i, j, k, l] = destination;
        self.address == address
            && self.ethernet == [a, b, c, d, e, f, g, h, i, j, k, l]
            && now_ns.wrapping_sub(self.at_ns) < Self::LIFE_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const HOST: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const ADDRESS: [u32; 4] = [0, 0, 0xffff, 7];

    fn seen() -> Seen {
        let mut ethernet = [0; 12];
        ethernet[..6].copy_from_slice(&PEER);
        ethernet[6..].copy_from_slice(&HOST);
        Seen { at_ns: 5, address: ADDRESS, ethernet, reserved: [0; 4] }
    }

    #[test]
    fn a_frame_comes_from_where_frames_go_to() {
        assert!(seen().is_of(ADDRESS, [HOST, PEER], 5 + Seen::LIFE_NS - 1));
        assert!(!seen().is_of(ADDRESS, [HOST, PEER], 5 + Seen::LIFE_NS), "long ago");
        assert!(!seen().is_of(ADDRESS, [HOST, HOST], 6), "another sender");
        assert!(!seen().is_of(ADDRESS, [PEER, PEER], 6), "for another host");
        assert!(!seen().is_of([0, 0, 0xffff, 8], [HOST, PEER], 6), "another's element");
    }

    #[test]
    fn what_is_the_same_is_written_again_in_time() {
        let ethernet = seen().ethernet;
        assert!(seen().is_fresh(ADDRESS, ethernet, 5 + Seen::LIFE_NS / 2 - 1));
        assert!(!seen().is_fresh(ADDRESS, ethernet, 5 + Seen::LIFE_NS / 2));
        assert!(!seen().is_fresh(ADDRESS, [0; 12], 6));
        assert!(!seen().is_fresh([0; 4], ethernet, 6));
    }

    #[test]
    fn the_layout_has_no_holes() {
        assert_eq!((size_of::<Neighbour>(), size_of::<Seen>()), (24, 40));
    }
}
