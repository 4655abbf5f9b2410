//! The ports that NAT redirects, as the kernel programs have seen.

use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData, MapError};
use proxyip_common::nat::{GuardedPort, Redirected};

use super::maps::open;
use super::owners::Readable;
use crate::bpf::pod::Raw;

/// The table of them.
pub(crate) struct RedirectedPorts(Readable<HashMap<MapData, Raw<GuardedPort>, Raw<Redirected>>>);

impl RedirectedPorts {
    pub(crate) fn open(pin_path: &Path) -> Result<Self> {
        Ok(Self(open(pin_path, "REDIRECTED")?))
    }

    /// Each port, with when that was last seen. One that the programs remove meanwhile may be missing.
    pub(crate) fn all(&self) -> Result<Vec<(GuardedPort, Redirected)>> {
        let present = |entry| match entry {
            Ok((Raw(port), Raw(redirected))) => Some(Ok((port, redirected))),
            Err(MapError::KeyNotFound) => None,
            Err(error) => Some(Err(error).context("the redirected ports cannot be read")),
        };
        self.0.iter().filter_map(present).collect()
    }
}
