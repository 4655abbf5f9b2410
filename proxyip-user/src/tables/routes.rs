//! The advertised MSS of routes, for the kernel programs. All namespaces share the table; each has a scope of its own.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::lpm_trie::Key;
use aya::maps::{LpmTrie, MapData, MapError};
use proxyip_common::address::Endpoint;
use proxyip_common::settings::ScopedAddress;

use super::maps::{is_missing, open_owned};
use super::owners::claim;
use crate::bpf::patience::patiently;
use crate::bpf::pod::Raw;

/// Bits of a key in front of the address.
const SCOPE: u32 = 32;

const UNWRITABLE: &str = "the routes cannot be written";

/// The routes of all namespaces.
pub(crate) struct RouteTrie(LpmTrie<MapData, Raw<ScopedAddress>, u16>);

/// The routes of one namespace. A destination is an IPv6 or IPv4-mapped address in network order, and the length of
/// its prefix in bits.
pub(crate) struct RoutesOf<'a> {
    table: &'a mut RouteTrie,
    /// The namespace's place in `NAMESPACES`.
    scope: u32,
}

impl RouteTrie {
    pub(crate) fn open(pin_path: &Path) -> Result<Self> {
        open_owned(pin_path, &claim!("ROUTES")).map(Self)
    }

    /// Those of the namespace at this place in `NAMESPACES`.
    pub(crate) const fn of(&mut self, scope: u32) -> RoutesOf<'_> {
        RoutesOf { table: self, scope }
    }
}

impl RoutesOf<'_> {
    /// The destinations that it has.
    pub(crate) fn destinations(&self) -> Vec<([u8; 16], u8)> {
        let destination = |key: Key<Raw<ScopedAddress>>| {
            // The key may be packed.
            let (Raw(data), bits) = (key.data(), key.prefix_len());
            let ScopedAddress { scope, address } = data;
            let bits = u8::try_from(bits.checked_sub(SCOPE)?).ok()?;
            let address = Endpoint::from_words(address, 0).address();
            (scope == self.scope.to_be_bytes()).then_some((address, bits))
        };
        self.table.0.keys().filter_map(Result::ok).filter_map(destination).collect()
    }

    /// Sets the MSS of a route. Returns false if the table is full.
    pub(crate) fn set(&mut self, address: [u8; 16], bits: u8, mss: u16) -> Result<bool> {
        let key = self.key(address, bits);
        match patiently(|| self.table.0.insert(&key, mss, 0)) {
            Ok(()) => Ok(true),
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == ErrorKind::StorageFull =>
            {
                Ok(false)
            }
            Err(error) => Err(error).context(UNWRITABLE),
        }
    }

    /// Removes a route. It is no error if there is none.
    pub(crate) fn unset(&mut self, address: [u8; 16], bits: u8) -> Result<()> {
        match self.table.0.remove(&self.key(address, bits)) {
            Err(error) if !is_missing(&error) => Err(error).context(UNWRITABLE),
            _ => Ok(()),
        }
    }

    fn key(&self, address: [u8; 16], bits: u8) -> Key<Raw<ScopedAddress>> {
        let address = ScopedAddress::new(self.scope, &Endpoint::from_v6(address, [0; 2]));
        Key::new(SCOPE + u32::from(bits), Raw(address))
    }
}
