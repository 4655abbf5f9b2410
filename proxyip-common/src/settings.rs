//! What the agent tells the kernel programs: settings of a namespace, of a listener, trusted sources.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::address::Endpoint;

/// The values in one namespace's `/proc/sys/net` that a SYN-ACK depends on.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct NamespaceSettings {
    /// The namespace's cookie (`SO_NETNS_COOKIE`), host order.
    pub cookie: u64,
    /// Length of the cookie's epochs in nanoseconds, not zero; the same in all namespaces.
    pub epoch_ns: u64,
    /// When the rules changed that may give connections to another port or address (NAT), in nanoseconds of
    /// `CLOCK_MONOTONIC`; 0 if there are none.
    pub nat_since_ns: u64,
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
    /// `net.ipv4.tcp_ecn` is not 0.
    pub const ECN: u8 = 1 << 6;

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

/// What happens to connections whose client a listener denies; `denied` in the configuration.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Denied {
    /// They are reset.
    #[default]
    Reset = 0,
    /// Their segments are dropped.
    Drop = 1,
    /// They pass, and their packets carry a mark.
    Mark = 2,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct ListenerSettings {
    /// [`ListenerSettings::V1`] and its siblings.
    pub flags: u8,
    /// A [`HandOffChoice`] as its value.
    pub hand_off: u8,
    /// Zero.
    pub reserved: [u8; 6],
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
    /// One port at least is translated for a while, though accept is possible: [`Fallback`] says which, and for how long.
    pub const FALLS_BACK: u8 = 1 << 3;
    /// Packets of denied connections may carry a mark.
    pub const MARKS: u8 = 1 << 4;
    /// Headers that name no client are those of the load balancer's own connections.
    pub const UNKNOWN_IS_LOCAL: u8 = 1 << 5;
    /// Connections without a header are the load balancer's own.
    pub const HEADERLESS_IS_LOCAL: u8 = 1 << 6;
    /// At least one of its ports is drained: `DRAINED` says which.
    pub const DRAINS: u8 = 1 << 7;

    /// Whether all of `flags` are set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

/// Who may connect to a listener: how to read its lists of networks, and where they are.
///
/// A hash map holds it, so that the kernel programs see a new one whole or not at all. Each new version of a
/// listener's lists has a new scope, and is complete before the policy names it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Policy {
    /// The scope of the lists in `TRUSTED` and `CLIENTS`, host order.
    pub scope: u32,
    /// The bits that the packets of denied connections carry in their marks, host order; for [`Denied::Mark`].
    pub mark: u32,
    /// An [`Untrusted`] as its value.
    pub untrusted: u8,
    /// A [`Denied`] as its value.
    pub denied: u8,
    /// The [`access`] of clients that no network has.
    pub otherwise: u8,
    /// 1 if there is a list of clients, else 0: then nobody need look there.
    pub judges: u8,
    /// Zero.
    pub reserved: [u8; 4],
}

/// What `CLIENTS` says of a network.
pub mod access {
    /// Its clients are refused; or, in a set, are not its members.
    pub const DENY: u8 = 0;
    /// Its clients may connect; or, in a set, are its members.
    pub const ALLOW: u8 = 1;
    /// The bit of those above.
    pub const ALLOWED: u8 = 1;
    /// Set beside it if the network comes from a command, and not from the configuration.
    pub const FROM_COMMAND: u8 = 1 << 1;
}

/// The name of a listener or set, padded with zeros; in the agent's maps, so that an entry keeps its place.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Name(pub [u8; Name::MAX]);

impl Name {
    /// Bytes of the longest name.
    pub const MAX: usize = 64;
}

/// Data of a longest-prefix-match key: addresses, in a table of their own for each namespace, or version of a list.
///
/// The prefix length counts the 32 bits of the scope too: a /24 of IPv4 is `32 + 96 + 24`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
pub struct ScopedAddress {
    /// Index of the namespace, or scope of the list, network byte order.
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

/// A key of `DRAINED`: new connections to the port are refused, by command.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
pub struct DrainedPort {
    /// The listener's index, host order.
    pub listener: u16,
    /// The port, host order; [`DrainedPort::ALL`] stands for all of the listener's ports.
    pub port: u16,
}

impl DrainedPort {
    /// All of a listener's ports.
    pub const ALL: u16 = 0;
}

/// The last source of a listener that perhaps should be trusted, as one CPU has seen it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct LastSource {
    /// When it was seen, nanoseconds of `CLOCK_MONOTONIC`; 0 if there was none.
    pub seen_ns: u64,
    /// Its address, IPv4 as IPv4-mapped; in network byte order in memory.
    pub address: [u32; 4],
}

/// A local port of one network namespace.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable,
)]
pub struct PlacedPort {
    /// The namespace's cookie (`SO_NETNS_COOKIE`), host order.
    pub namespace: u64,
    /// The port, host order.
    pub port: u16,
    /// Zero.
    pub reserved: [u8; 6],
}

impl PlacedPort {
    /// A port in the namespace with this cookie.
    #[inline(always)]
    #[must_use]
    pub const fn new(namespace: u64, port: u16) -> Self {
        Self { namespace, port, reserved: [0; 6] }
    }
}

/// In `FALLBACKS`: how long [`HandOffChoice::Auto`] translates the connections to a port. Then accept is tried again,
/// whether or not the agent runs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Fallback {
    /// Its end, in nanoseconds of `CLOCK_MONOTONIC`.
    pub until_ns: u64,
    /// Why: an [`Obstacle`](crate::counter::Obstacle) as its value.
    pub reason: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

impl Fallback {
    /// A fallback until then, for the obstacle with this value.
    #[must_use]
    pub const fn new(until_ns: u64, reason: u8) -> Self {
        Self { until_ns, reason, reserved: [0; 7] }
    }
}

/// In `PORTS`: the port is no longer guarded, but some of its connections are still translated.
pub const RETIRED: u16 = u16::MAX;
/// In `PORTS`: nothing is received for the moment, while what is known of connections moves into other maps.
pub const HELD: u16 = RETIRED - 1;

/// How many listeners a configuration may have.
pub const MAX_LISTENERS: u32 = 1024;
/// How many named sets a configuration may have.
pub const MAX_SETS: u32 = 256;
/// Networks that the lists of all listeners and sets may have in all; while lists change, old and new ones count.
pub const MAX_NETWORKS: u32 = 2_097_152;
/// Ports that may be drained, and listeners that may be drained whole; of listeners that have left too.
pub const MAX_DRAINED: u32 = 131_072;
/// Routes of all namespaces for which a SYN-ACK has an MSS of its own.
pub const MAX_ROUTES: u32 = 65_536;
/// How many ports of namespaces can have a [`Fallback`] at a time.
pub const MAX_FALLBACKS: u32 = 4096;
/// How many network namespaces an agent can serve.
pub const MAX_NAMESPACES: u32 = 1024;

/// The programs on interfaces that all namespaces share, as places in the kernel programs' maps `PROGRAMS` and `PLACES`.
pub mod front {
    /// The ingress program.
    pub const INGRESS: u32 = 0;
    /// The egress program.
    pub const EGRESS: u32 = 1;
    /// The program at XDP.
    pub const XDP: u32 = 2;
    /// How many there are.
    pub const COUNT: u32 = 3;
    /// None: a program that is loaded for one namespace.
    pub const NONE: u32 = u32::MAX;
}

/// Stands in the kernel programs for the BTF id of `bpf_sk_assign_tcp_reqsk`, which only the running
/// kernel knows.
pub const KFUNC_ASSIGN: u32 = 0x7ff0_0001;
