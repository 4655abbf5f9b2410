//! Values that are more than TOML knows: ports, networks, names. The command line reads them the same way.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use super::problem::Fault;

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
/// If it cannot be one, or is a glob.
pub fn interface_name(text: &str) -> Result<String, Fault> {
    if is_glob(text) {
        return Err(Fault::GlobNotSupported(text.into()));
    }
    let wrong = |c: char| c == '/' || c == ':' || c == '\0' || c.is_ascii_whitespace();
    if text.is_empty() || text.len() > 15 || text.contains(wrong) || matches!(text, "." | "..") {
        return Err(Fault::NotAnInterface(text.into()));
    }
    Ok(text.into())
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

pub(super) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
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
