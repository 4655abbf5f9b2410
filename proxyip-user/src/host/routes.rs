//! The MSS that routes advertise, where it is not that of the interface.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use proxyip_common::address::Endpoint;
use proxyip_common::settings::ScopedAddress;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric,
};
use rtnetlink::{Handle, RouteMessageBuilder};

/// IP and TCP headers without options, in bytes.
const HEADERS_V4: u32 = 40;
const HEADERS_V6: u32 = 60;

/// The routes of one namespace, by key and prefix length in bits. The value is the route's own advertised MSS in
/// bytes, or 0 if it has none.
pub(crate) type Routes = HashMap<(ScopedAddress, u32), u16>;

/// Reads the main routing table. Empty if no route sets an MTU or MSS. Policy routing is ignored.
pub(crate) async fn read(handle: &Handle, scope: u32) -> Result<Routes> {
    let mut routes = Routes::new();
    let v4 = RouteMessageBuilder::<std::net::Ipv4Addr>::new().build();
    let v6 = RouteMessageBuilder::<std::net::Ipv6Addr>::new().build();
    for filter in [v4, v6] {
        let mut messages = handle.route().get(filter).execute();
        while let Some(message) =
            messages.try_next().await.context("the routing table cannot be read")?
        {
            if let Some((key, mss)) = entry(&message, scope) {
                routes.insert(key, mss);
            }
        }
    }
    if routes.values().all(|mss| *mss == 0) {
        routes.clear();
    }
    Ok(routes)
}

fn entry(route: &RouteMessage, scope: u32) -> Option<((ScopedAddress, u32), u16)> {
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
    let bits = 32 + if v6 { 0 } else { 96 } + u32::from(route.header.destination_prefix_length);
    let endpoint = Endpoint::from(std::net::SocketAddr::new(destination, 0));
    Some(((ScopedAddress::new(scope, &endpoint), bits), mss))
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
    use super::*;

    #[test]
    fn advmss_goes_before_mtu() {
        assert_eq!(advertised(&[RouteMetric::Mtu(1400)], false), 1360);
        assert_eq!(advertised(&[RouteMetric::Mtu(1400)], true), 1340);
        let both = [RouteMetric::Mtu(1400), RouteMetric::Advmss(1000)];
        assert_eq!(advertised(&both, false), 1000);
        assert_eq!(advertised(&[], false), 0);
    }
}
