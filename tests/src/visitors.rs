//! Clients of both families in numbers, each with an address of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::site::Site;

/// Makes every address of two networks one of the client's.
pub fn make_addresses(site: &Site) {
    site.net.client.ip("route add local 198.18.0.0/15 dev lo");
    site.net.balancer.ip("route add 198.18.0.0/15 via 203.0.113.9 dev eth0");
    site.net.client.sysctl("ipv6.ip_nonlocal_bind", "1");
    site.net.client.ip("-6 route add local 2001:db8:50::/48 dev lo");
    site.net.balancer.ip("-6 route add 2001:db8:50::/48 via 2001:db8:c::9 dev eth0");
}

/// The address of the client with this number: of IPv4 if it is even. Those of IPv4 come again after 131,072.
///
/// # Panics
/// Never: 17 bits are a `u32`.
#[must_use]
pub fn address_of(number: u64) -> IpAddr {
    if number.is_multiple_of(2) {
        let low = u32::try_from(number / 2 % (1 << 17)).expect("17 bits");
        Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() | low).into()
    } else {
        let network = Ipv6Addr::new(0x2001, 0xdb8, 0x50, 0, 0, 0, 0, 0).to_bits();
        Ipv6Addr::from_bits(network | u128::from(number)).into()
    }
}
