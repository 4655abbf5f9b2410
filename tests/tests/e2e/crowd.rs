//! Machines that exist only as the sources of forged segments.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddrV4};

use proxyip_tests::{Forged, Guard, RawPeer, Site, address};

/// The claimed sources of forged segments.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Crowd {
    /// Machines that [`guard`] trusts.
    Trusted,
    /// Machines that nobody trusts.
    Strangers,
}

impl Crowd {
    const fn network(self) -> [u8; 2] {
        match self {
            Self::Trusted => [10, 78],
            Self::Strangers => [172, 31],
        }
    }

    /// A different address and port for each of the first hundred million numbers.
    pub(crate) fn member(self, number: u32) -> SocketAddrV4 {
        let [a, b] = self.network();
        let byte = |number: u32| u8::try_from(number).expect("below 256");
        let (c, d) = (16 + byte(number / 200 % 200), 1 + byte(number % 200));
        let port = number % 40_000 + 7 * (number / 40_000);
        let port = 1024 + u16::try_from(port % 60_000).expect("16 bits");
        SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port)
    }

    /// A SYN of a member.
    pub(crate) fn syn(self, number: u32) -> Forged {
        Forged { acknowledgment: 0, ..self.segment(number, RawPeer::SYN, &[]) }
    }

    /// A segment of a member, with random sequence and acknowledgment numbers.
    pub(crate) fn segment(self, number: u32, flags: u8, payload: &[u8]) -> Forged {
        Forged {
            source: self.member(number),
            target: server(80),
            sequence: random(),
            acknowledgment: random(),
            flags,
            payload: payload.to_vec(),
        }
    }
}

/// The server and one of its ports.
pub(crate) fn server(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address::SERVER.parse().expect("an IPv4 address"), port)
}

/// Some number.
pub(crate) fn random() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one(0).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Trusts the load balancer and [`Crowd::Trusted`].
pub(crate) fn guard() -> Guard {
    Guard::ports(&[80]).also_trusting("10.78.0.0/16")
}

/// The server answers the crowds by way of the load balancer, which gives the answers to nobody.
pub(crate) fn settle(site: &Site) {
    for crowd in [Crowd::Trusted, Crowd::Strangers] {
        let [a, b] = crowd.network();
        site.net.server.ip(&format!("route add {a}.{b}.0.0/16 via {}", address::BALANCER));
        site.net.balancer.ip(&format!("route add blackhole {a}.{b}.0.0/16"));
    }
    site.net.server.run("iptables -t raw -A PREROUTING -p tcp --dport 80 --syn");
    // Half of its half-open connections end within three seconds, all within seven.
    site.net.server.sysctl("ipv4.tcp_synack_retries", "1");
}

/// Gives the load balancer this many trusted addresses.
pub(crate) fn own_addresses(site: &Site, count: u8) -> Vec<String> {
    let [a, b] = Crowd::Trusted.network();
    let own: Vec<_> = (1..=count).map(|number| format!("{a}.{b}.1.{number}")).collect();
    for address in &own {
        site.net.balancer.ip(&format!("addr add {address}/32 dev eth1"));
    }
    own
}

/// How many SYNs for port 80 proxyip has passed: netfilter comes after it.
pub(crate) fn passed_syns(site: &Site) -> u64 {
    let rules = site.net.server.run("iptables -t raw -vnxL PREROUTING");
    let rule = rules.lines().find(|line| line.contains("dpt:80")).expect("the rule");
    let count = rule.split_whitespace().next().expect("a count of packets");
    count.parse().expect("a number")
}
