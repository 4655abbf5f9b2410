//! A longest-prefix-match trie that holds many lists, each in its own scope.
//!
//! A list is never changed into another. The new list gets a new scope, and is complete before anybody looks there.
//! The old list is removed when no program can still be reading it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::lpm_trie::Key;
use aya::maps::{LpmTrie, MapData, MapError};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proxyip_common::address::Endpoint;
use proxyip_common::settings::{MAX_NETWORKS, ScopedAddress};

use super::fill::{Count, Level};
use super::maps::open_owned;
use super::owners::{Claim, claim};
use crate::bpf::patience::patiently;
use crate::bpf::pod::Raw;

/// What a trie says of each network of one scope.
pub(crate) type Entries = BTreeMap<IpNet, u8>;

/// A trie's key.
type TrieKey = Key<Raw<ScopedAddress>>;

/// A trie of many lists.
pub(crate) struct Trie {
    map: LpmTrie<MapData, Raw<ScopedAddress>, u8>,
    name: &'static str,
    networks: Count,
}

impl Trie {
    /// Which sources are trusted.
    pub(crate) fn trusted(pin_path: &Path) -> Result<Self> {
        Self::open(pin_path, claim!("TRUSTED"))
    }

    /// The verdicts on clients, and the members of sets.
    pub(crate) fn clients(pin_path: &Path) -> Result<Self> {
        Self::open(pin_path, claim!("CLIENTS"))
    }

    fn open(pin_path: &Path, claim: Claim) -> Result<Self> {
        let networks = Count::default();
        Ok(Self { map: open_owned(pin_path, &claim)?, name: claim.map(), networks })
    }

    /// How many networks all of its lists have: right once [`Trie::scopes`] was called.
    pub(crate) fn fill_level(&self) -> Level {
        Level { map: self.name, count: self.networks.clone(), most: MAX_NETWORKS }
    }

    /// Writes a list into a scope that nobody reads.
    pub(crate) fn fill(&mut self, scope: u32, entries: &Entries) -> Result<()> {
        entries.iter().try_for_each(|(network, value)| self.add(scope, network, *value))
    }

    /// Adds a network that the list does not have, which all programs see from then on.
    pub(crate) fn add(&mut self, scope: u32, network: &IpNet, value: u8) -> Result<()> {
        self.set(scope, network, value)?;
        self.networks.add_one();
        Ok(())
    }

    /// Changes the value of a network that the list has.
    pub(crate) fn set(&mut self, scope: u32, network: &IpNet, value: u8) -> Result<()> {
        let key = key(scope, network);
        patiently(|| self.map.insert(&key, value, 0))
            .with_context(|| format!("map {} takes no more networks", self.name))
    }

    /// Removes one network.
    pub(crate) fn unset(&mut self, scope: u32, network: &IpNet) -> Result<()> {
        self.map.remove(&key(scope, network)).with_context(|| self.unwritable())?;
        self.networks.remove_one();
        Ok(())
    }

    /// The value of the smallest network that has an address.
    pub(crate) fn get(&self, scope: u32, ip: IpAddr) -> Result<Option<u8>> {
        match self.map.get(&key_of(scope, ip), 0) {
            Ok(value) => Ok(Some(value)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("map {} cannot be read", self.name)),
        }
    }

    /// The lists in these scopes.
    pub(crate) fn entries(&self, scopes: &BTreeSet<u32>) -> BTreeMap<u32, Entries> {
        let mut entries: BTreeMap<u32, Entries> = BTreeMap::new();
        for (key, value) in self.map.iter().filter_map(Result::ok) {
            if let Some((scope, network)) = network(&key)
                && scopes.contains(&scope)
            {
                entries.entry(scope).or_default().insert(network, value);
            }
        }
        entries
    }

    /// The scopes that have a network. Counts the networks anew.
    pub(crate) fn scopes(&self) -> BTreeSet<u32> {
        let (mut scopes, mut number) = (BTreeSet::new(), 0);
        for key in self.map.keys().filter_map(Result::ok) {
            number += 1;
            scopes.extend(network(&key).map(|(scope, _)| scope));
        }
        self.networks.set(number);
        scopes
    }

    /// Removes the lists of these scopes.
    pub(crate) fn sweep(&mut self, scopes: &BTreeSet<u32>) -> Result<()> {
        let keys = self.map.keys().filter_map(Result::ok);
        let scope = |data: &ScopedAddress| u32::from_be_bytes(data.scope);
        let stale: Vec<_> = keys.filter(|key| scopes.contains(&scope(&key.data().0))).collect();
        for key in stale {
            match self.map.remove(&key) {
                Ok(()) => self.networks.remove_one(),
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error).with_context(|| self.unwritable()),
            }
        }
        Ok(())
    }

    fn unwritable(&self) -> String {
        format!("map {} cannot be written", self.name)
    }
}

/// The key of a network.
fn key(scope: u32, network: &IpNet) -> TrieKey {
    let family = match network {
        IpNet::V4(_) => 96,
        IpNet::V6(_) => 0,
    };
    let bits = 32 + family + u32::from(network.prefix_len());
    Key::new(bits, Raw(address(scope, network.network())))
}

/// The key that finds the smallest network that has an address.
fn key_of(scope: u32, ip: IpAddr) -> TrieKey {
    Key::new(ScopedAddress::BITS, Raw(address(scope, ip)))
}

fn address(scope: u32, ip: IpAddr) -> ScopedAddress {
    ScopedAddress::new(scope, &Endpoint::from(SocketAddr::new(ip, 0)))
}

/// The scope and the network of a key; `None` for a key that no agent writes.
fn network(key: &TrieKey) -> Option<(u32, IpNet)> {
    let Raw(data) = key.data();
    let ip = Endpoint::from_words(data.address, 0).to_socket_addr().ip();
    let bits = u8::try_from(key.prefix_len().checked_sub(32)?).ok()?;
    let network = match ip {
        // Shorter than the mapping prefix: it is an IPv6 network, and its address has zeros there.
        IpAddr::V4(v4) if bits >= 96 => Ipv4Net::new(v4, bits - 96).ok()?.into(),
        IpAddr::V4(v4) => Ipv6Net::new(v4.to_ipv6_mapped(), bits).ok()?.into(),
        IpAddr::V6(v6) => Ipv6Net::new(v6, bits).ok()?.into(),
    };
    Some((u32::from_be_bytes(data.scope), network))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_lengths_count_scope_and_mapping() {
        for (text, bits) in [
            ("10.0.0.0/8", 136),
            ("fd00::/8", 40),
            ("192.0.2.1/32", 160),
            ("0.0.0.0/0", 128),
            ("::/0", 32),
        ] {
            let net: IpNet = text.parse().unwrap();
            let key = key(7, &net);
            assert_eq!(key.prefix_len(), bits);
            assert_eq!(network(&key), Some((7, net)));
        }
    }
}
