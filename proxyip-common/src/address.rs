//! Socket addresses as bytes, and newtypes that keep the four ends of a proxied connection apart.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The prefix of an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2).
const V4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// An address and a port, both in network byte order.
///
/// IPv4 addresses are held IPv4-mapped, so one flow has one key whatever the family of the socket.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    address: [u8; 16],
    port: [u8; 2],
}

impl Endpoint {
    /// `::` port 0: no address.
    pub const UNSPECIFIED: Self = Self { address: [0; 16], port: [0; 2] };

    /// From an IPv4 address and a port, both in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4(address: [u8; 4], port: [u8; 2]) -> Self {
        let [a, b, c, d] = address;
        Self { address: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d], port }
    }

    /// From an IPv6 address and a port, both in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn from_v6(address: [u8; 16], port: [u8; 2]) -> Self {
        Self { address, port }
    }

    /// The address: 16 bytes, network order, IPv4 as IPv4-mapped.
    #[inline(always)]
    #[must_use]
    pub const fn address(&self) -> [u8; 16] {
        self.address
    }

    /// The IPv4 address, network order, if this is one.
    #[inline(always)]
    #[must_use]
    pub fn v4(&self) -> Option<[u8; 4]> {
        let [.., a, b, c, d] = self.address;
        let mut prefix = [0; 12];
        prefix.copy_from_slice(&self.address[..12]);
        (prefix == V4_MAPPED).then_some([a, b, c, d])
    }

    /// The port in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn port_bytes(&self) -> [u8; 2] {
        self.port
    }

    /// The port in host byte order.
    #[inline(always)]
    #[must_use]
    pub const fn port(&self) -> u16 {
        u16::from_be_bytes(self.port)
    }

    /// As the standard library's type; IPv4-mapped addresses come out as IPv4.
    #[must_use]
    pub fn to_socket_addr(&self) -> SocketAddr {
        let ip = match self.v4() {
            Some(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
            None => IpAddr::V6(Ipv6Addr::from(self.address)),
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
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    fn layout_is_eighteen_bytes_without_padding() {
        assert_eq!((size_of::<Endpoint>(), align_of::<Endpoint>()), (18, 1));
        assert_eq!(size_of::<Client>(), 18);
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
