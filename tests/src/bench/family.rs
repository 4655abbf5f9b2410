//! The two families, and who has addresses in each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::packet::{Packet, SYN};
use proxyip_common::cookie::{MSS_V4, MSS_V6};

/// IPv4 and IPv6.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// The sources that every listener trusts.
pub const TRUSTED: [IpAddr; 4] = [
    address4(10, 77, 0, 2),
    address6(2),
    // The host itself: nothing comes from there by the wire.
    address4(10, 77, 0, 1),
    address6(1),
];

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

const fn address4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn address6(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last))
}

impl Family {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn address(self, last: u8) -> IpAddr {
        match self {
            Self::V4 => address4(10, 77, 0, last),
            Self::V6 => address6(last.into()),
        }
    }

    /// This host, at a port.
    pub fn host(self, port: u16) -> SocketAddr {
        (self.address(1), port).into()
    }

    /// Another host that this one routes to.
    pub fn other_host(self, port: u16) -> SocketAddr {
        match self {
            Self::V4 => (address4(10, 88, 0, 9), port).into(),
            Self::V6 => ("fd88::9".parse::<IpAddr>().expect("an address"), port).into(),
        }
    }

    /// Addresses of several hosts; TCP answers nobody who sends there. A network's own broadcast address is not
    /// among them: the programs cannot tell it from one of this host's.
    pub fn everybody(self, port: u16) -> Vec<SocketAddr> {
        let addresses = match self {
            Self::V4 => ["255.255.255.255", "224.0.0.1"].as_slice(),
            Self::V6 => &["ff02::1"],
        };
        let address = |text: &&str| text.parse::<IpAddr>().expect("an address");
        addresses.iter().map(|text| (address(text), port).into()).collect()
    }

    /// The trusted load balancer, at a port that no other case has.
    pub fn peer(self) -> SocketAddr {
        (self.address(2), next_port()).into()
    }

    /// A source that is not trusted, at a port that no other case has.
    pub fn stranger(self) -> SocketAddr {
        (self.address(3), next_port()).into()
    }

    /// Bytes of IP and TCP headers.
    pub fn headers(self) -> u16 {
        match self {
            Self::V4 => 40,
            Self::V6 => 60,
        }
    }

    /// The MSS that each class of a cookie stands for, bytes.
    pub fn classes(self) -> &'static [u16; 8] {
        match self {
            Self::V4 => &MSS_V4,
            Self::V6 => &MSS_V6,
        }
    }

    /// A SYN of the load balancer.
    pub fn syn(self, port: u16) -> Packet {
        Packet::new(self.peer(), self.host(port), SYN)
    }

    /// The client that headers name.
    pub fn client(self) -> SocketAddr {
        match self {
            Self::V4 => "198.51.100.7:51234".parse().expect("an address"),
            Self::V6 => "[2001:db8:5::7]:51234".parse().expect("an address"),
        }
    }

    /// Where it connected to.
    pub fn destination(self) -> SocketAddr {
        match self {
            Self::V4 => "192.0.2.1:443".parse().expect("an address"),
            Self::V6 => "[2001:db8:2::1]:443".parse().expect("an address"),
        }
    }

    /// A version 2 header of that client.
    pub fn header(self) -> Vec<u8> {
        crate::header::v2(self.client(), self.destination())
    }
}

pub(super) fn next_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
