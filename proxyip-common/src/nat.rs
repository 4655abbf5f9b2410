//! What NAT does with the connections to a port.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A port of one family in one network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
pub struct GuardedPort {
    /// The namespace's place in `NAMESPACES`, host order.
    pub namespace: u32,
    /// The port, host order.
    pub port: u16,
    /// 1 for IPv6, else 0.
    pub ipv6: u16,
}

/// That NAT redirects a port, as a SYN-ACK has shown.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Redirected {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub seen_ns: u64,
}

impl Redirected {
    /// How long it counts, in nanoseconds.
    pub const LIFE_NS: u64 = 60_000_000_000;

    /// Whether it still counts: it is not old, and the rules have not changed since.
    #[inline(always)]
    #[must_use]
    pub const fn counts(&self, now_ns: u64, nat_since_ns: u64) -> bool {
        self.seen_ns > nat_since_ns && now_ns.wrapping_sub(self.seen_ns) < Self::LIFE_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirected_port_counts_for_a_minute_and_until_the_rules_change() {
        let port = Redirected { seen_ns: 1000 };
        assert!(port.counts(1000, 999));
        assert!(port.counts(999 + Redirected::LIFE_NS, 999));
        assert!(!port.counts(1000 + Redirected::LIFE_NS, 999));
        assert!(!port.counts(1001, 1000));
        assert_eq!((size_of::<GuardedPort>(), size_of::<Redirected>()), (8, 8));
    }
}
