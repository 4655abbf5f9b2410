//! Socket addresses as bytes, and newtypes that keep the four ends of a proxied connection apart.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The third word of an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2).
const V4_MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

/// An address and a port, both in network byte order in memory.
///
/// IPv4 addresses are held IPv4-mapped, so one flow has one key for every family of socket. The fields are words, not
/// bytes, because the kernel programs move whole words.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
pub struct Endpoint {
    address: [u32; 4],
    port: u16,
    zero: u16,
}

impl Endpoint {
    /// `::` port 0: no address.
    pub const UNSPECIFIED: Self = Self { address: [0; 4], port: 0, zero: 0 };

    /// From an IPv4 address and a port, both in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4(address: [u8; 4], port: [u8; 2]) -> Self {
        let address = [0, 0, V4_MAPPED, u32::from_ne_bytes(address)];
        Self { address, port: u16::from_ne_bytes(port), zero: 0 }
    }

    /// From an IPv6 address and a port, both in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn from_v6(address: [u8; 16], port: [u8; 2]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address;
        let address = [
            u32::from_ne_bytes([a, b, c, d]),
            u32::from_ne_bytes([e, f, g, h]),
            u32::from_ne_bytes([i, j, k, l]),
            u32::from_ne_bytes([m, n, o, p]),
        ];
        Self { address, port: u16::from_ne_bytes(port), zero: 0 }
    }

    /// From words as the kernel holds them, of an IPv6 or IPv4-mapped address, and a port; both in network
    /// byte order in memory.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(address: [u32; 4], port: u16) -> Self {
        Self { address, port, zero: 0 }
    }

    /// The address: 16 bytes, network order, IPv4 as IPv4-mapped.
    #[inline(always)]
    #[must_use]
    pub const fn address(&self) -> [u8; 16] {
        let [first, second, third, fourth] = self.address;
        let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
        let ([i, j, k, l], [m, n, o, p]) = (third.to_ne_bytes(), fourth.to_ne_bytes());
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// The address as four words, in network byte order in memory.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u32; 4] {
        self.address
    }

    /// The IPv4 address, network order, if this is one.
    #[inline(always)]
    #[must_use]
    pub const fn v4(&self) -> Option<[u8; 4]> {
        match self.address {
            [0, 0, V4_MAPPED, v4] => Some(v4.to_ne_bytes()),
            _ => None,
        }
    }

    /// The port in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn port_bytes(&self) -> [u8; 2] {
        self.port.to_ne_bytes()
    }

    /// The port in host byte order.
    #[inline(always)]
    #[must_use]
    pub const fn port(&self) -> u16 {
        u16::from_be(self.port)
    }

    /// As the standard library's type; IPv4-mapped addresses come out as IPv4.
    #[must_use]
    pub fn to_socket_addr(&self) -> SocketAddr {
        let ip = match self.v4() {
            Some(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
            None => IpAddr::V6(Ipv6Addr::from(self.address())),
        };
        SocketAddr::new(ip, self.port())
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(from: SocketAddr) -> Self {
        let port = from.port().to_be_bytes();
        match from.ip() {
            IpAddr::V4(v4) => Self::from_v4(v4.octets(), port),
            IpAddr::V6(v6) => Self::from_v6(v6.octets(), port),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_socket_addr().fmt(f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! ends {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[repr(transparent)]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
        pub struct $name(pub Endpoint);

        impl From<SocketAddr> for $name {
            fn from(from: SocketAddr) -> Self {
                Self(from.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

ends! {
    /// What the packet's source says: the load balancer's address and port.
    Peer
    /// What the packet's destination says: this host's address and port.
    Local
    /// The source in the PROXY header: the real client.
    Client
    /// The destination in the PROXY header: the address the client connected to.
    Destination
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_twenty_bytes_without_hidden_padding() {
        assert_eq!((size_of::<Endpoint>(), align_of::<Endpoint>()), (20, 4));
        assert_eq!(size_of::<Client>(), 20);
    }

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["203.0.113.9:443", "[2001:db8::1]:80", "0.0.0.0:0", "[::]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Endpoint::from(address).to_socket_addr(), address);
            assert_eq!(Endpoint::from(address).to_string(), text);
        }
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:7".parse().unwrap();
        assert_eq!(Endpoint::from(mapped), Endpoint::from_v4([192, 0, 2, 1], [0, 7]));
        assert_eq!(Endpoint::from(mapped).v4(), Some([192, 0, 2, 1]));
    }
}
