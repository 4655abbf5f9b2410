//! Values that are more than TOML knows: ports, networks, names. The command line reads them the same way.

use std::collections::{BTreeSet, HashSet};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use nix::unistd::Gid;
use proxyip_common::settings::Name;
use proxyip_common::text::is_obeyed;

use super::api::GroupName;
use super::places::{Names, Namespaces, Netns, file_pattern, is_pattern, pattern};
use super::problem::Fault;

/// In bytes: a map of the agent holds it, and a zero behind it.
const MAX_NAME: usize = Name::MAX - 1;

/// One port or a range of them, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRange(RangeInclusive<u16>);

impl PortRange {
    /// A single port; `None` if it is not from 1 to 65535.
    pub(super) fn single(port: i64) -> Option<Self> {
        let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
        Some(Self(port..=port))
    }
}

/// Ascending ports, neighbours as ranges: `22, 80-82`.
#[must_use]
pub fn port_ranges(ports: &[u16]) -> String {
    let chunks = ports.chunk_by(|a, b| a.checked_add(1) == Some(*b));
    let ranges: Vec<_> = chunks
        .map(|chunk| match chunk {
            [first, .., last] => format!("{first}-{last}"),
            other => other.iter().map(ToString::to_string).collect(),
        })
        .collect();
    ranges.join(", ")
}

impl FromStr for PortRange {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let port = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|port| digits && *port != 0)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (Some(first), Some(last)) = (port(first.trim()), port(last.trim())) else {
            return Err(Fault::NotAPort(text.into()));
        };
        if last < first {
            return Err(Fault::RangeBackwards(text.into()));
        }
        Ok(Self(first..=last))
    }
}

/// Each port of the ranges once, ascending.
pub(super) fn expand(ranges: &[PortRange]) -> Vec<u16> {
    ranges.iter().flat_map(|range| range.0.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Reads a network as [`network`] does, or an address, which means itself alone.
///
/// # Errors
/// Those of [`network`].
pub fn network_or_address(text: &str) -> Result<IpNet, Fault> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_canonical().into()),
        Err(_) => network(text),
    }
}

/// Reads a network in its canonical form.
///
/// # Errors
/// Says what to write instead, where that is clear.
pub fn network(text: &str) -> Result<IpNet, Fault> {
    let Ok(network) = text.parse::<IpNet>() else {
        return Err(match text.parse::<IpAddr>() {
            Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_none() => {
                Fault::AddressWithoutPrefix { address: text.into(), bits: 128 }
            }
            Ok(ip) => {
                Fault::AddressWithoutPrefix { address: ip.to_canonical().to_string(), bits: 32 }
            }
            Err(_) => Fault::NotANetwork(text.into()),
        });
    };
    if let Some(v4) = mapped(network) {
        return Err(Fault::MappedNetwork { value: text.into(), network: v4 });
    }
    if network.addr() != network.network() {
        return Err(Fault::HostBits { value: text.into(), network: network.trunc() });
    }
    Ok(network)
}

/// The IPv4 network that an IPv4-mapped one means (RFC 4291 §2.5.5.2).
fn mapped(network: IpNet) -> Option<IpNet> {
    let IpNet::V6(v6) = network else { return None };
    let bits = v6.prefix_len().checked_sub(96)?;
    let address: Ipv4Addr = v6.addr().to_ipv4_mapped()?;
    Some(Ipv4Net::new(address, bits).ok()?.trunc().into())
}

/// Checks an interface's name as the kernel would
/// ([`dev_valid_name()`](https://github.com/torvalds/linux/blob/v6.12/net/core/dev.c#L1096)).
///
/// # Errors
/// If it cannot be one.
fn interface_name(text: &str) -> Result<String, Fault> {
    let wrong = |c: char| c == '/' || c == ':' || c == '\0' || c.is_ascii_whitespace();
    if text.is_empty() || text.len() > 15 || text.contains(wrong) || matches!(text, "." | "..") {
        return Err(Fault::NotAnInterface(text.into()));
    }
    Ok(text.into())
}

/// Reads an interface's name, or a pattern of names.
///
/// # Errors
/// If no interface could have the name, or it is not a pattern.
pub fn interfaces(text: &str) -> Result<Names, Fault> {
    if !is_pattern(text) {
        return interface_name(text).map(Names::One);
    }
    let wrong = |c: char| c == '/' || c == ':' || c == '\0' || c.is_ascii_whitespace();
    if text.contains(wrong) {
        return Err(Fault::NotAnInterface(text.into()));
    }
    pattern(text).map(Names::Like)
}

/// Checks a set's name, which becomes that of a pin.
pub(super) fn set_name(text: &str) -> Result<String, Fault> {
    let right = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=32).contains(&text.len()) && text.bytes().all(right) {
        Ok(text.into())
    } else {
        Err(Fault::NotASetName(text.into()))
    }
}

/// Checks that a path is absolute.
pub(super) fn absolute_path(text: &str) -> Result<PathBuf, Fault> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(Fault::NotAbsolute(text.into())) }
}

/// The items in their order, without repetitions.
pub(crate) fn distinct<T: Clone + Eq + Hash>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = HashSet::new();
    items.into_iter().filter(|item| seen.insert(item.clone())).collect()
}

/// Checks the name of a listener.
pub(super) fn listener_name(text: &str) -> Result<String, Fault> {
    match text {
        _ if text.trim().is_empty() => Err(Fault::Empty("character")),
        _ if text.len() > MAX_NAME => Err(Fault::NameTooLong(MAX_NAME)),
        _ if text.contains(is_obeyed) => Err(Fault::ControlInName),
        _ => Ok(text.into()),
    }
}

/// Reads `host`, the path of a namespace, or a pattern of paths.
pub(super) fn netns(text: &str) -> Result<Namespaces, Fault> {
    match text {
        "host" => Ok(Namespaces::One(Netns::Host)),
        _ if text.starts_with('/') && is_pattern(text) => file_pattern(text).map(Namespaces::Like),
        _ if text.starts_with('/') => Ok(Namespaces::One(Netns::Path(PathBuf::from(text)))),
        _ => Err(Fault::NotANamespace(text.into())),
    }
}

/// Reads the permissions of a socket.
pub(super) fn octal(text: &str) -> Result<u32, Fault> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o777);
    mode.ok_or_else(|| Fault::NotAMode(text.into()))
}

/// By name or number. Whether this host has a group of that name is asked later.
#[expect(clippy::unnecessary_wraps, reason = "the schema's entries want it")]
pub(super) fn group_name(text: &str) -> Result<GroupName, Fault> {
    // The last number means "leave it as it is" (chown(2)).
    let number = text.parse().ok().filter(|number| *number != u32::MAX);
    Ok(number.map_or_else(
        || GroupName::Name(text.into()),
        |number| GroupName::Number(Gid::from_raw(number)),
    ))
}

/// Reads an address with its port.
pub(super) fn address(text: &str) -> Result<SocketAddr, Fault> {
    text.parse().map_err(|_| Fault::NotAnEndpoint(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_ports_are_ranges() {
        for (ports, text) in [
            (&[][..], ""),
            (&[443], "443"),
            (&[22, 80, 81, 82, 443, 65534, 65535], "22, 80-82, 443, 65534-65535"),
        ] {
            assert_eq!(port_ranges(ports), text);
        }
    }
}
