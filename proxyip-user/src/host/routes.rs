//! The MSS that routes advertise, where it is not that of the interface.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use anyhow::{Context, Result};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::netlink;

/// IP and TCP headers without options, in bytes.
const HEADERS_V4: u32 = 40;
const HEADERS_V6: u32 = 60;
/// Bits in front of an IPv4 address that is written as an IPv6 one.
const MAPPED: u8 = 96;

/// The destination of a route.
///
/// The order is that of a walk through the tree of networks: a network comes before those within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Destination {
    /// The network's address; IPv4 is IPv4-mapped.
    address: u128,
    /// Length of its prefix, counted in the IPv6 address.
    bits: u8,
}

/// The routes that the MSS of a SYN-ACK depends on: each one's advertised MSS in bytes, or 0 if it has none.
pub(crate) type Routes = BTreeMap<Destination, u16>;

impl Destination {
    /// All IPv4 addresses.
    const IPV4: Self = Self { address: 0xffff << 32, bits: MAPPED };

    /// `length` counts the bits of the address's own family.
    pub(crate) fn new(address: IpAddr, length: u8) -> Self {
        match address {
            IpAddr::V4(v4) => {
                Self { address: v4.to_ipv6_mapped().to_bits(), bits: MAPPED.saturating_add(length) }
            }
            IpAddr::V6(v6) => Self { address: v6.to_bits(), bits: length },
        }
    }

    /// Of a network, the address and the prefix length in bits, as in an IPv6 network.
    pub(crate) const fn from_parts(address: [u8; 16], bits: u8) -> Self {
        Self { address: u128::from_be_bytes(address), bits }
    }

    /// In network order.
    pub(crate) const fn address(&self) -> [u8; 16] {
        self.address.to_be_bytes()
    }

    pub(crate) const fn bits(&self) -> u8 {
        self.bits
    }

    fn contains(&self, other: &Self) -> bool {
        let differing = (self.address ^ other.address).leading_zeros();
        self.bits <= other.bits && differing >= u32::from(self.bits)
    }
}

/// Reads the main routing table of the calling thread's namespace. Policy routing is ignored.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn read() -> Result<Routes> {
    all().map(that_matter).context("the routing table cannot be read")
}

fn all() -> io::Result<Vec<(Destination, u16)>> {
    let socket = netlink::open(NETLINK_ROUTE)?;
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        let request = RouteNetlinkMessage::GetRoute(request);
        let found = netlink::dump(&socket, &request, |answer| match answer {
            RouteNetlinkMessage::NewRoute(route) => entry(&route),
            _ => None,
        })?;
        routes.extend(found.found);
    }
    Ok(routes)
}

/// The routes without which a lookup of the MSS would find another answer. Those are the routes with an MSS, and
/// exceptions within their networks. A router with a million routes has few of both.
fn that_matter(mut all: Vec<(Destination, u16)>) -> Routes {
    if all.iter().all(|(_, mss)| *mss == 0) {
        return Routes::new();
    }
    // IPv4 addresses lie within ::/0, whose MSS is not theirs.
    all.push((Destination::IPV4, 0));
    // Of several routes to a destination the kernel announces the preferred one first. The sort keeps their order.
    all.sort_by_key(|(destination, _)| *destination);
    all.dedup_by_key(|(destination, _)| *destination);
    let mut around: Vec<(Destination, u16)> = Vec::new();
    let mut kept = Routes::new();
    for (destination, mss) in all {
        while around.last().is_some_and(|(network, _)| !network.contains(&destination)) {
            around.pop();
        }
        let inherited = around.last().map_or(0, |(_, mss)| *mss);
        if mss != inherited {
            kept.insert(destination, mss);
            around.push((destination, mss));
        }
    }
    kept
}

fn entry(route: &RouteMessage) -> Option<(Destination, u16)> {
    if route.header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let v6 = route.header.address_family == AddressFamily::Inet6;
    let mut destination: IpAddr = if v6 { [0; 16].into() } else { [0; 4].into() };
    let mut mss = 0;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(v4)) => destination = (*v4).into(),
            RouteAttribute::Destination(RouteAddress::Inet6(v6)) => destination = (*v6).into(),
            RouteAttribute::Metrics(metrics) => mss = advertised(metrics, v6),
            _ => {}
        }
    }
    Some((Destination::new(destination, route.header.destination_prefix_length), mss))
}

/// The route's `advmss`. Without one, its `mtu` minus the headers.
fn advertised(metrics: &[RouteMetric], v6: bool) -> u16 {
    let headers = if v6 { HEADERS_V6 } else { HEADERS_V4 };
    let mut mss = 0;
    for metric in metrics {
        match metric {
            RouteMetric::Advmss(advmss) => return u16::try_from(*advmss).unwrap_or(u16::MAX),
            RouteMetric::Mtu(mtu) => mss = mtu.saturating_sub(headers),
            _ => {}
        }
    }
    u16::try_from(mss).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::*;

    fn destination(network: &str) -> Destination {
        let network: IpNet = network.parse().unwrap();
        Destination::new(network.addr(), network.prefix_len())
    }

    fn routes(routes: &[(&str, u16)]) -> Vec<(Destination, u16)> {
        routes.iter().map(|(network, mss)| (destination(network), *mss)).collect()
    }

    /// As the kernel programs look it up.
    fn mss(routes: &Routes, address: IpAddr) -> u16 {
        let address = Destination::from_parts(Destination::new(address, 0).address(), 128);
        let found = routes.iter().filter(|(network, _)| network.contains(&address));
        found.max_by_key(|(network, _)| network.bits).map_or(0, |(_, mss)| *mss)
    }

    #[test]
    fn advmss_goes_before_mtu() {
        assert_eq!(advertised(&[RouteMetric::Mtu(1400)], false), 1360);
        assert_eq!(advertised(&[RouteMetric::Mtu(1400)], true), 1340);
        let both = [RouteMetric::Mtu(1400), RouteMetric::Advmss(1000)];
        assert_eq!(advertised(&both, false), 1000);
        assert_eq!(advertised(&[], false), 0);
    }

    #[test]
    fn only_routes_with_an_mss_and_exceptions_within_them_are_kept() {
        for (all, kept) in [
            (vec![("0.0.0.0/0", 0), ("10.0.0.0/8", 0)], vec![]),
            (
                vec![("0.0.0.0/0", 0), ("10.0.0.0/8", 1000), ("192.168.0.0/16", 0)],
                vec![("10.0.0.0/8", 1000)],
            ),
            (
                vec![
                    ("10.0.0.0/8", 1000),
                    ("10.1.0.0/16", 0),
                    ("10.1.2.0/24", 0),
                    ("11.0.0.0/8", 0),
                ],
                vec![("10.0.0.0/8", 1000), ("10.1.0.0/16", 0)],
            ),
            (vec![("10.0.0.0/8", 1000), ("10.1.0.0/16", 1000)], vec![("10.0.0.0/8", 1000)]),
            // The preferred route to a destination comes first.
            (vec![("10.0.0.0/8", 1000), ("10.0.0.0/8", 900)], vec![("10.0.0.0/8", 1000)]),
            (
                vec![("::/0", 1340), ("fd00::/8", 0)],
                vec![("::/0", 1340), ("0.0.0.0/0", 0), ("fd00::/8", 0)],
            ),
        ] {
            let expected: Routes = routes(&kept).into_iter().collect();
            assert_eq!(that_matter(routes(&all)), expected, "{all:?}");
        }
    }

    #[test]
    fn what_is_kept_gives_the_same_answers() {
        // Every route that these bytes can make, in all nestings.
        let networks = (0..=3_u8).flat_map(|second| {
            [(8, [10, 0]), (15, [10, second & 2]), (16, [10, second])]
                .map(|(bits, [first, second])| Destination::new([first, second, 0, 0].into(), bits))
        });
        let networks: Vec<_> =
            networks.collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        for choice in 0..3_u32.pow(u32::try_from(networks.len()).unwrap()) {
            let value = |index: usize| {
                [0, 1000, 900][(choice / 3_u32.pow(u32::try_from(index).unwrap()) % 3) as usize]
            };
            let all: Vec<_> =
                networks.iter().enumerate().map(|(index, one)| (*one, value(index))).collect();
            let kept = that_matter(all.clone());
            let all: Routes = all.into_iter().collect();
            for second in 0..=4 {
                let address = [10, second, 0, 1].into();
                assert_eq!(mss(&kept, address), mss(&all, address), "{all:?}");
            }
        }
    }

    #[test]
    fn a_full_table_of_the_internet_leaves_a_few() {
        let all = (0..1_000_000_u32).map(|number| {
            let address = std::net::Ipv4Addr::from_bits((number + 0x0001_0000) << 8);
            (Destination::new(address.into(), 24), if number % 100_000 == 7 { 1380 } else { 0 })
        });
        assert_eq!(that_matter(all.collect()).len(), 10);
    }
}
