//! The flow table: one entry for each connection whose PROXY header was consumed.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::address::{Client, Destination, Endpoint, Local, Peer};

/// The key of a flow: its 4-tuple, within one network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
pub struct FlowKey {
    /// The namespace's cookie (`SO_NETNS_COOKIE`), host order.
    pub namespace: u64,
    /// The load balancer's end.
    pub peer: Peer,
    /// This host's end.
    pub local: Local,
}

impl FlowKey {
    /// The key of the flow between `peer` and `local`.
    #[inline(always)]
    #[must_use]
    pub const fn new(namespace: u64, peer: Peer, local: Local) -> Self {
        Self { namespace, peer, local }
    }

    /// A number that two flows hardly ever share. It need not withstand anybody: a load balancer chooses the ports.
    #[inline(always)]
    #[must_use]
    pub const fn hash(&self) -> u64 {
        // Odd, its bits without a pattern: 2⁶⁴ divided by the golden ratio.
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let [a, b, c, d] = self.peer.0.words();
        let [e, f, g, h] = self.local.0.words();
        let [i, j] = [self.peer.0.port() as u32, self.local.0.port() as u32];
        let pairs = [[a, b], [c, d], [e, f], [g, h], [i, j]];
        let mut hash = self.namespace;
        let mut index = 0;
        while index < pairs.len() {
            let [high, low] = pairs[index];
            hash = (hash ^ (high as u64) << 32 ^ low as u64).wrapping_mul(FACTOR);
            hash ^= hash >> 32;
            index += 1;
        }
        hash
    }
}

macro_rules! kinds {
    (
        $(#[$list_doc:meta])*
        $list:ident: $($(#[$doc:meta])* $name:ident = $value:literal, $label:literal)*
    ) => {
        $(#[$list_doc])*
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $list { $($(#[$doc])* $name = $value,)* }

        impl $list {
            /// The value that a record holds, read back; `None` for any other.
            #[must_use]
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value { $($value => Some(Self::$name),)* _ => None }
            }

            /// As logs and the API name it.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

kinds! {
    /// What a header said of the client.
    Origin:
    /// The header names a client.
    Proxied = 1, "proxied"
    /// The load balancer speaks for itself (a health check), by v2 LOCAL. So it does by a header that names its own end of
    /// this connection as the client. The peer is the client.
    Local = 2, "local"
    /// UNSPEC, UNIX or v1 UNKNOWN: no client is named.
    Unknown = 3, "unknown"
}

kinds! {
    /// How a connection is given to the application.
    HandOff:
    /// The kernel's TCP takes it over behind the header; an ordinary connection from then on.
    Accept = 1, "accept"
    /// The kernel does its own handshake; sequence numbers are translated for the connection's life.
    Translate = 2, "translate"
    /// The header is read and left in place, for an application that reads it too.
    Observe = 3, "observe"
}

/// The least length that a `u16` does not hold.
const TOO_LONG: u32 = 1 << 16;

/// What is known of a flow. Times are nanoseconds of `CLOCK_MONOTONIC`; 0 means *not yet*.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct FlowRecord {
    /// When the first segment with payload was handed to the kernel.
    pub handed_over_ns: u64,
    /// When the socket became established.
    pub established_ns: u64,
    /// Bytes received when the socket entered `FIN_WAIT2`; in the socket's storage only.
    pub received_at_fin_wait: u64,
    /// The client; for [`Origin::Local`] and [`Origin::Unknown`] the peer.
    pub client: Client,
    /// Where the client connected to; for other origins the local end.
    pub destination: Destination,
    /// Index of the listener in the configuration, from 0, host order.
    pub listener: u16,
    /// Length of the header in bytes, host order; with [`FlowRecord::LONG`] it is 65,536 more.
    pub header_length: u16,
    /// 1 or 2; 0 without a header.
    pub version: u8,
    /// An [`Origin`] as its value; 0 before it is known.
    pub origin: u8,
    /// [`FlowRecord::TLVS`] and its siblings.
    pub flags: u8,
    /// A [`HandOff`] as its value.
    pub hand_off: u8,
}

impl FlowRecord {
    /// The header carries TLVs.
    pub const TLVS: u8 = 1;
    /// The listener denies the client; its packets are marked.
    pub const DENIED: u8 = 1 << 1;
    /// The header announces datagrams: the load balancer is a proxy of UDP to its client.
    pub const DATAGRAM: u8 = 1 << 2;
    /// The header is longer than [`FlowRecord::header_length`] can say.
    pub const LONG: u8 = 1 << 3;

    /// Whether all of `flags` are set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// The length of the header in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn length_of_header(&self) -> u32 {
        self.header_length as u32 + if self.has(Self::LONG) { TOO_LONG } else { 0 }
    }

    /// Whether it is known who the client is: the header has been read, or the listener lets the connection in without.
    #[inline(always)]
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.origin != 0
    }

    /// All zero: the value before anything is known.
    pub const EMPTY: Self = Self {
        handed_over_ns: 0,
        established_ns: 0,
        received_at_fin_wait: 0,
        client: Client(Endpoint::UNSPECIFIED),
        destination: Destination(Endpoint::UNSPECIFIED),
        listener: 0,
        header_length: 0,
        version: 0,
        origin: 0,
        flags: 0,
        hand_off: 0,
    };
}

/// A handshake that the kernel does itself, until its header comes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Handshake {
    /// When its SYN came, in nanoseconds of `CLOCK_MONOTONIC`.
    pub since_ns: u64,
    /// Initial sequence number of the peer, host order.
    pub isn: u32,
    /// A [`HandOff`] as its value, or [`Handshake::LEFT`].
    pub hand_off: u8,
    /// The [`Obstacle`](crate::counter::Obstacle) as its index.
    pub reason: u8,
    /// 1 if the two ends do not scale windows, else 0.
    pub unscaled: u8,
    /// Zero.
    pub reserved: u8,
}

impl Handshake {
    /// NAT gives the connection to another port or address: it is left alone.
    pub const LEFT: u8 = 4;
}

/// A connection whose sequence numbers are translated. Times are nanoseconds of `CLOCK_MONOTONIC`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Translation {
    /// When the last segment came before the socket was established or after it was closed, or the last RST; else
    /// when the socket was established.
    pub seen_ns: u64,
    /// Initial sequence number of the peer, host order.
    pub isn: u32,
    /// By how much the peer's numbers are ahead of the kernel's: the length of the header in bytes, host order; with
    /// [`Translation::LONG`] it is 65,536 more.
    pub shift: u16,
    /// [`Translation::OPENING`] and its siblings.
    pub state: u8,
    /// [`Translation::SUPERSEDED`] and its siblings.
    pub flags: u8,
}

impl Translation {
    /// A SYN has come that may replace the connection, which is in `TIME_WAIT`.
    pub const SUPERSEDED: u8 = 1;
    /// The listener denies the client: packets are marked.
    pub const DENIED: u8 = 1 << 1;
    /// The header is longer than [`Translation::shift`] can say.
    pub const LONG: u8 = 1 << 2;

    /// By how much the peer's numbers are ahead of the kernel's.
    #[inline(always)]
    #[must_use]
    pub const fn ahead(&self) -> u32 {
        self.shift as u32 + if self.flags & Self::LONG == 0 { 0 } else { TOO_LONG }
    }

    /// The header has been read; the socket is not established.
    pub const OPENING: u8 = 0;
    /// The socket is established.
    pub const ESTABLISHED: u8 = 1;
    /// The socket is gone, but may have left a `TIME_WAIT` behind, or a RST that is still to be sent.
    pub const CLOSED: u8 = 2;
    /// The socket is established, and the peer has sent a RST. If TCP takes it, nothing is left behind.
    pub const RESET: u8 = 3;
}

/// What the socket of a translated connection keeps, so that most of its segments need not be looked up in a table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct TranslatedSocket {
    /// The cookie of the namespace where its segments are translated, host order. They pass other namespaces too, with the
    /// socket that has sent them.
    pub namespace: u64,
    /// See [`Translation::ahead`].
    pub ahead: u32,
    /// Zero.
    pub reserved: u32,
}

/// The numbers of a connection that has ended, host order.
///
/// The server's initial sequence number is the cookie, which counts for as long as it has not expired. So the kernel
/// programs must know that its connection is over.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Ended {
    /// Initial sequence number of the peer.
    pub isn: u32,
    /// Initial sequence number of this host.
    pub cookie: u32,
    /// The number behind the last that the peer has sent.
    pub received: u32,
    /// The number behind the last that this host has sent.
    pub sent: u32,
}

impl Ended {
    /// How far behind or ahead of the last byte a segment of the connection may be: more than most windows.
    const NEAR: u32 = 1 << 24;

    /// Whether the first segment of a handshake with these initial sequence numbers is the connection's own, come again.
    #[inline(always)]
    #[must_use]
    pub const fn began_with(&self, isn: u32, cookie: u32) -> bool {
        self.isn == isn && self.cookie == cookie
    }

    /// Whether a segment with these numbers is one of the connection: it acknowledges something that this host has
    /// sent, or only its SYN, and lies near the last that the peer has sent.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, sequence: u32, acknowledgment: u32) -> bool {
        let acknowledged = acknowledgment.wrapping_sub(self.cookie.wrapping_add(1));
        let all = self.sent.wrapping_sub(self.cookie.wrapping_add(1));
        let ahead = sequence.wrapping_sub(self.received.wrapping_sub(Self::NEAR));
        acknowledged <= all && ahead < 2 * Self::NEAR
    }
}

/// A connection that has ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct EndedFlow {
    /// The [`FlowKey::hash`] of its flow.
    pub hash: u64,
    /// Its numbers.
    pub numbers: Ended,
}

/// The last two connections that have ended of all whose flows have one place.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct EndedPair {
    /// The last one.
    pub last: EndedFlow,
    /// The one before.
    pub before: EndedFlow,
}

#[cfg(test)]
mod tests;
