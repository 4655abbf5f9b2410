//! The answer to `getsockopt(fd, 0x5050, 1, …)`; `include/proxyip.h` has the same for C.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::address::Endpoint;
use crate::flow::{FlowRecord, HandOff, Origin};

/// The level of the socket option, which no protocol has.
pub const LEVEL: i32 = 0x5050;
/// The option's name within [`LEVEL`].
pub const INFO: i32 = 1;

/// What the option's value holds. Later versions append to it and raise [`SocketInfo::abi`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct SocketInfo {
    /// [`SocketInfo::ABI`], host order.
    pub abi: u16,
    /// Version of the PROXY header: 1 or 2; 0, if the listener lets the connection in without one.
    pub header_version: u8,
    /// An [`Origin`] as its value.
    pub origin: u8,
    /// A [`HandOff`] as its value.
    pub hand_off: u8,
    /// [`SocketInfo::DENIED`].
    pub flags: u8,
    /// Zero.
    pub reserved: u16,
    /// The client; for [`Origin::Local`] and [`Origin::Unknown`] the peer.
    pub client: SocketAddress,
    /// Where the client connected to; for other origins the local end.
    pub destination: SocketAddress,
}

impl SocketInfo {
    /// The version of the layout.
    pub const ABI: u16 = 1;
    /// The listener denies the client; its packets are marked.
    pub const DENIED: u8 = 1;

    /// What a flow's record tells; `None` if its header has not come yet.
    #[inline(always)]
    #[must_use]
    pub const fn of(record: &FlowRecord) -> Option<Self> {
        if !record.is_known() {
            return None;
        }
        Some(Self {
            abi: Self::ABI,
            header_version: record.version,
            origin: record.origin,
            hand_off: record.hand_off,
            flags: if record.has(FlowRecord::DENIED) { Self::DENIED } else { 0 },
            reserved: 0,
            client: SocketAddress::of(&record.client.0),
            destination: SocketAddress::of(&record.destination.0),
        })
    }
}

// The values are part of the interface.
const _: () = assert!(Origin::Proxied as u8 == 1 && Origin::Local as u8 == 2);
const _: () = assert!(Origin::Unknown as u8 == 3 && HandOff::Accept as u8 == 1);
const _: () = assert!(HandOff::Translate as u8 == 2 && HandOff::Observe as u8 == 3);

/// A `sockaddr_in6`, or a `sockaddr_in` with zeros behind it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct SocketAddress {
    /// [`SocketAddress::INET`] or [`SocketAddress::INET6`], host order.
    pub family: u16,
    /// The port, in network byte order in memory.
    pub port: u16,
    /// What follows in the family's own structure, in network byte order in memory: an IPv4 address and zeros; or flow
    /// information, which is zero, an IPv6 address, and a scope, which is zero.
    pub words: [u32; 6],
}

impl SocketAddress {
    /// `AF_INET`.
    pub const INET: u16 = 2;
    /// `AF_INET6`.
    pub const INET6: u16 = 10;

    /// In the address's own family: an IPv4 client is one on every socket.
    #[inline(always)]
    #[must_use]
    pub const fn of(endpoint: &Endpoint) -> Self {
        let port = u16::from_ne_bytes(endpoint.port_bytes());
        let [a, b, c, d] = endpoint.words();
        if endpoint.v4().is_some() {
            return Self { family: Self::INET, port, words: [d, 0, 0, 0, 0, 0] };
        }
        Self { family: Self::INET6, port, words: [0, a, b, c, d, 0] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Client, Destination};
    use core::mem::offset_of;
    use core::net::SocketAddr;

    fn record(client: &str, destination: &str) -> FlowRecord {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        FlowRecord {
            client: Client::from(parse(client)),
            destination: Destination::from(parse(destination)),
            version: 2,
            origin: Origin::Proxied as u8,
            hand_off: HandOff::Observe as u8,
            flags: FlowRecord::DENIED | FlowRecord::TLVS,
            ..FlowRecord::EMPTY
        }
    }

    /// The layout is an interface.
    #[test]
    fn layout_is_that_of_the_header_file() {
        assert_eq!((size_of::<SocketInfo>(), align_of::<SocketInfo>()), (64, 4));
        for (offset, expected) in [
            (offset_of!(SocketInfo, abi), 0),
            (offset_of!(SocketInfo, header_version), 2),
            (offset_of!(SocketInfo, origin), 3),
            (offset_of!(SocketInfo, hand_off), 4),
            (offset_of!(SocketInfo, flags), 5),
            (offset_of!(SocketInfo, reserved), 6),
            (offset_of!(SocketInfo, client), 8),
            (offset_of!(SocketInfo, destination), 36),
        ] {
            assert_eq!(offset, expected);
        }
        assert_eq!(size_of::<SocketAddress>(), 28);
        assert_eq!(offset_of!(SocketAddress, port), 2);
        assert_eq!(offset_of!(SocketAddress, words), 4);
    }

    #[test]
    fn each_address_has_its_own_family() {
        let info = SocketInfo::of(&record("203.0.113.9:51234", "[2001:db8::1]:443")).unwrap();
        assert_eq!((info.abi, info.header_version, info.origin, info.hand_off), (1, 2, 1, 3));
        assert_eq!((info.flags, info.reserved), (SocketInfo::DENIED, 0));
        assert_eq!((info.client.family, info.client.port.to_ne_bytes()), (2, [200, 34]));
        let address = u32::from_ne_bytes([203, 0, 113, 9]);
        assert_eq!(info.client.words, [address, 0, 0, 0, 0, 0]);
        assert_eq!((info.destination.family, info.destination.port.to_ne_bytes()), (10, [1, 187]));
        let [first, last] = [[0x20, 0x01, 0x0d, 0xb8], [0, 0, 0, 1]].map(u32::from_ne_bytes);
        assert_eq!(info.destination.words, [0, first, 0, 0, last, 0]);
    }

    #[test]
    fn a_connection_without_a_header_is_told_of_too() {
        let headerless = FlowRecord {
            version: 0,
            origin: Origin::Local as u8,
            ..record("10.0.0.2:41000", "10.0.1.2:443")
        };
        let info = SocketInfo::of(&headerless).unwrap();
        assert_eq!((info.header_version, info.origin), (0, 2));
    }

    #[test]
    fn nothing_is_told_before_the_header_has_come() {
        let mark = FlowRecord { hand_off: HandOff::Observe as u8, ..FlowRecord::EMPTY };
        assert_eq!(SocketInfo::of(&mark), None);
    }
}
