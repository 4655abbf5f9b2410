//! What is guarded: ports, listeners and trusted sources, written to the kernel's maps.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use aya::Ebpf;
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, LpmTrie, MapData};
use ipnet::{IpNet, Ipv6Net};
use proxyip_common::address::Endpoint;
use proxyip_common::settings::{ListenerSettings, MAX_LISTENERS, RETIRED, ScopedAddress};

use super::clock::nanoseconds;
use super::maps::take;
use super::pod::Raw;
use crate::config::{Listener, Unknown};

/// Makes the maps say what `listeners` say. What an agent before this one wrote is replaced: what a port
/// needs is written before the port, and what no port needs any more is removed after it.
///
/// Returns the ports that are guarded no longer. They are retired first: connections to them may be
/// translated.
pub(super) fn write(ebpf: &mut Ebpf, listeners: &[Listener]) -> Result<BTreeSet<u16>> {
    ensure!(
        u32::try_from(listeners.len()).is_ok_and(|count| count <= MAX_LISTENERS),
        "there are more than {MAX_LISTENERS} listeners"
    );
    let mut settings: Array<MapData, Raw<ListenerSettings>> = take(ebpf, "LISTENERS")?;
    let mut table: LpmTrie<MapData, Raw<ScopedAddress>, u8> = take(ebpf, "TRUSTED")?;
    let mut ports: Array<MapData, u16> = take(ebpf, "PORTS")?;

    let mut wanted_ports = vec![0u16; usize::from(u16::MAX) + 1];
    let mut wanted_sources = HashMap::new();
    for (index, listener) in (0u16..).zip(listeners) {
        settings
            .set(index.into(), Raw(listener_settings(listener)), 0)
            .context("the listeners cannot be written")?;
        wanted_sources.extend(sources(index, &listener.trusted));
        for port in &listener.ports {
            wanted_ports[usize::from(*port)] = index + 1;
        }
    }
    for ((address, bits), trusted) in &wanted_sources {
        let key = Key::new(*bits, Raw(*address));
        table.insert(&key, trusted, 0).context("the trusted sources cannot be written")?;
    }
    let retired = write_ports(&mut ports, &wanted_ports)?;
    let stale: Vec<_> = table
        .keys()
        .filter_map(Result::ok)
        .filter(|key| !wanted_sources.contains_key(&(key.data().0, key.prefix_len())))
        .collect();
    for key in stale {
        table.remove(&key).context("the trusted sources cannot be written")?;
    }
    Ok(retired)
}

/// Returns the retired ports.
fn write_ports(ports: &mut Array<MapData, u16>, wanted: &[u16]) -> Result<BTreeSet<u16>> {
    let mut retired = BTreeSet::new();
    for (port, listener) in (0u16..=u16::MAX).zip(wanted) {
        let old = ports.get(&port.into(), 0).context("the guarded ports cannot be read")?;
        let new = if *listener == 0 && old != 0 { RETIRED } else { *listener };
        if new == RETIRED {
            retired.insert(port);
        }
        if new != old {
            ports.set(port.into(), new, 0).context("the guarded ports cannot be written")?;
        }
    }
    Ok(retired)
}

/// Retires every port that is guarded.
pub(super) fn retire_all(ports: &mut Array<MapData, u16>) -> Result<()> {
    write_ports(ports, &vec![0; usize::from(u16::MAX) + 1]).map(|_| ())
}

fn listener_settings(listener: &Listener) -> ListenerSettings {
    let mut flags = 0;
    for (flag, set) in [
        (ListenerSettings::V1, listener.versions.v1),
        (ListenerSettings::V2, listener.versions.v2),
        (ListenerSettings::REFUSE_UNKNOWN, listener.unknown == Unknown::Reset),
    ] {
        if set {
            flags |= flag;
        }
    }
    ListenerSettings {
        flags,
        untrusted: listener.untrusted as u8,
        hand_off: listener.hand_off as u8,
        reserved: [0; 5],
        header_timeout_ns: nanoseconds(listener.header_timeout),
    }
}

/// Keys, prefix lengths in bits and values (1 trusted, 0 not) of a listener's trusted sources.
///
/// IPv4 addresses are looked up IPv4-mapped, so an IPv6 network that covers `::ffff:0:0/96` would trust
/// all of IPv4; an exception keeps it from that.
fn sources(listener: u16, trusted: &[IpNet]) -> Vec<((ScopedAddress, u32), u8)> {
    let mapped: Ipv6Net = "::ffff:0:0/96".parse().expect("a network");
    let covered = trusted.iter().any(|net| matches!(net, IpNet::V6(v6) if v6.contains(&mapped)));
    let exception = covered.then_some((key(listener, &mapped.into()), 0));
    exception.into_iter().chain(trusted.iter().map(|net| (key(listener, net), 1))).collect()
}

fn key(listener: u16, net: &IpNet) -> (ScopedAddress, u32) {
    let endpoint = Endpoint::from(SocketAddr::new(net.network(), 0));
    let family = match net {
        IpNet::V4(_) => 96,
        IpNet::V6(_) => 0,
    };
    let bits = 32 + family + u32::from(net.prefix_len());
    (ScopedAddress::new(listener.into(), &endpoint), bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn prefix_lengths_count_scope_and_mapping() {
        let bits: Vec<_> = sources(0, &nets(&["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"]))
            .into_iter()
            .map(|((_, bits), trusted)| (bits, trusted))
            .collect();
        assert_eq!(bits, [(136, 1), (40, 1), (160, 1)]);
    }

    #[test]
    fn all_of_ipv6_is_not_ipv4() {
        let sources: HashMap<_, _> = sources(0, &nets(&["::/0"])).into_iter().collect();
        let all_v4 = key(0, &"0.0.0.0/0".parse().unwrap());
        assert_eq!(sources.get(&all_v4), Some(&0));
        assert_eq!(sources.len(), 2);
    }

    #[test]
    fn all_of_ipv6_and_ipv4_is_both() {
        let sources: HashMap<_, _> =
            sources(0, &nets(&["::/0", "0.0.0.0/0"])).into_iter().collect();
        assert_eq!(sources.get(&key(0, &"0.0.0.0/0".parse().unwrap())), Some(&1));
    }
}
