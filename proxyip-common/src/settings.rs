//! What the agent tells the kernel programs: settings of a namespace, of a listener, trusted sources.

use crate::address::Endpoint;

/// `/proc/sys/net` of one namespace, as far as a SYN-ACK depends on it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceSettings {
    /// The namespace's cookie (`SO_NETNS_COOKIE`), host order.
    pub cookie: u64,
    /// Length of the cookie's epochs in nanoseconds, not zero; the same in all namespaces.
    pub epoch_ns: u64,
    /// Added to the millisecond clock in TCP timestamps, so that they do not tell the uptime.
    pub timestamp_offset: u32,
    /// Receive window of SYN-ACKs in bytes, unscaled, host order.
    pub window: u16,
    /// Window scale that SYN-ACKs offer, 0 to 14 (RFC 7323 §2.2).
    pub window_scale: u8,
    /// [`NamespaceSettings::SYNCOOKIES`] and its siblings.
    pub flags: u8,
}

impl NamespaceSettings {
    /// `net.ipv4.tcp_syncookies` is not 0.
    pub const SYNCOOKIES: u8 = 1;
    /// `net.ipv4.tcp_timestamps` is not 0.
    pub const TIMESTAMPS: u8 = 1 << 1;
    /// `net.ipv4.tcp_sack` is not 0.
    pub const SACK: u8 = 1 << 2;
    /// `net.ipv4.tcp_window_scaling` is not 0.
    pub const WINDOW_SCALING: u8 = 1 << 3;
    /// Connection tracking is absent, or `net.netfilter.nf_conntrack_tcp_loose` is not 0.
    pub const CONNTRACK_LOOSE: u8 = 1 << 4;
    /// At least one route has an MTU or an advertised MSS of its own.
    pub const ROUTE_MSS: u8 = 1 << 5;

    /// Whether all of `flags` are set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

/// What happens to connections to a guarded port from sources that are not trusted.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untrusted {
    /// They pass as if proxyip were not there.
    Bypass = 0,
    /// Their SYN is answered with a RST.
    Reset = 1,
    /// Their SYN is dropped.
    Drop = 2,
}

/// Which hand-off a listener's connections get; `hand_off` in the configuration.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandOffChoice {
    /// Accept where kernel, stack and listening socket allow it, else translate; decided at each SYN.
    #[default]
    Auto = 0,
    /// Accept; what it cannot serve is left to the kernel.
    Accept = 1,
    /// Translate.
    Translate = 2,
    /// Observe.
    Observe = 3,
}

/// The kernel's view of a `[[listener]]`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerSettings {
    /// [`ListenerSettings::V1`] and its siblings.
    pub flags: u8,
    /// An [`Untrusted`] as its value.
    pub untrusted: u8,
    /// A [`HandOffChoice`] as its value.
    pub hand_off: u8,
    /// Zero.
    pub reserved: [u8; 5],
    /// How long after its first byte a header must be complete, in nanoseconds, host order.
    pub header_timeout_ns: u64,
}

impl ListenerSettings {
    /// Version 1 headers are allowed.
    pub const V1: u8 = 1;
    /// Version 2 headers are allowed.
    pub const V2: u8 = 1 << 1;
    /// Headers that name no client are refused.
    pub const REFUSE_UNKNOWN: u8 = 1 << 2;
    /// The stack refuses what the accept hand-off gives it: [`HandOffChoice::Auto`] translates.
    pub const STACK_REFUSES: u8 = 1 << 3;

    /// Whether all of `flags` are set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

/// Data of a longest-prefix-match key: addresses, in a table of their own for each listener or namespace.
///
/// The prefix length counts the 32 bits of the scope too: a /24 of IPv4 is `32 + 96 + 24`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScopedAddress {
    /// Index of the listener or namespace, network byte order.
    pub scope: [u8; 4],
    /// The address, IPv4 as IPv4-mapped; in network byte order in memory.
    pub address: [u32; 4],
}

impl ScopedAddress {
    /// Bits of a full key.
    pub const BITS: u32 = 32 + 128;

    /// The key for one address in one scope.
    #[inline(always)]
    #[must_use]
    pub const fn new(scope: u32, address: &Endpoint) -> Self {
        Self { scope: scope.to_be_bytes(), address: address.words() }
    }
}

/// In `PORTS`, for a port that is guarded no longer but has connections that are translated still.
pub const RETIRED: u16 = u16::MAX;

/// How many listeners a configuration may have.
pub const MAX_LISTENERS: u32 = 1024;
/// How many network namespaces an agent can serve.
pub const MAX_NAMESPACES: u32 = 256;

/// Stands in the kernel programs for the BTF id of `bpf_sk_assign_tcp_reqsk`, which only the running
/// kernel knows.
pub const KFUNC_ASSIGN: u32 = 0x7ff0_0001;
