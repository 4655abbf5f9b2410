//! The ports of listeners that are drained.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData};
use proxyip_common::settings::DrainedPort;

use super::maps::{open_owned, remove};
use super::owners::claim;
use crate::bpf::patience::patiently;
use crate::bpf::pod::Raw;

const UNWRITABLE: &str = "the drained ports cannot be written";

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// New connections are refused from now on.
    Drain,
    /// They are taken again.
    Resume,
}

/// What is drained, to be read without waiting for whoever writes.
#[derive(Clone, Debug, Default)]
pub struct DrainedPorts(Arc<Mutex<BTreeSet<(u16, u16)>>>);

impl DrainedPorts {
    /// Those among the ports of the listener at a place.
    #[must_use]
    pub fn among(&self, place: u16, ports: &[u16]) -> Vec<u16> {
        let drained = self.lock();
        if drained.contains(&(place, DrainedPort::ALL)) {
            return ports.to_vec();
        }
        ports.iter().copied().filter(|port| drained.contains(&(place, *port))).collect()
    }

    /// What is drained at a place: ports, or [`DrainedPort::ALL`].
    pub(crate) fn at(&self, place: u16) -> Vec<u16> {
        self.lock().range((place, 0)..=(place, u16::MAX)).map(|(_, port)| *port).collect()
    }

    /// Whether the listener at a place has any.
    pub(crate) fn any(&self, place: u16) -> bool {
        self.lock().range((place, 0)..=(place, u16::MAX)).next().is_some()
    }

    /// Whether all ports of the listener at a place are drained, those that it will get too.
    pub(crate) fn has_all(&self, place: u16) -> bool {
        self.lock().contains(&(place, DrainedPort::ALL))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(u16, u16)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the map.
pub(crate) struct DrainedMap {
    map: HashMap<MapData, Raw<DrainedPort>, u8>,
    ports: DrainedPorts,
}

impl DrainedMap {
    /// What an agent before this one drained stays drained.
    pub(crate) fn open(pin_path: &Path) -> Result<Self> {
        let map: HashMap<MapData, Raw<DrainedPort>, u8> = open_owned(pin_path, &claim!("DRAINED"))?;
        let there = map.keys().map(|key| {
            let Raw(DrainedPort { listener, port }) =
                key.context("the drained ports cannot be read")?;
            Ok((listener, port))
        });
        let there = there.collect::<Result<_>>()?;
        Ok(Self { map, ports: DrainedPorts(Arc::new(Mutex::new(there))) })
    }

    /// What is drained now and later.
    pub(crate) fn ports(&self) -> DrainedPorts {
        self.ports.clone()
    }

    /// Drains a port, or all.
    pub(crate) fn add(&mut self, place: u16, port: u16) -> Result<()> {
        patiently(|| self.map.insert(key(place, port), 1, 0)).context(UNWRITABLE)?;
        self.ports.lock().insert((place, port));
        Ok(())
    }

    /// Drains these at a place, and nothing else there.
    pub(crate) fn put_back(&mut self, place: u16, ports: &[u16]) -> Result<()> {
        for port in self.ports.at(place).into_iter().filter(|port| !ports.contains(port)) {
            self.forget(place, port)?;
        }
        ports.iter().try_for_each(|port| self.add(place, *port))
    }

    /// Takes new connections again: to a port, or to all, whether they were drained alone or together.
    pub(crate) fn remove(&mut self, place: u16, port: u16) -> Result<()> {
        let matches = |there: &u16| port == DrainedPort::ALL || *there == port;
        let mut there = self.ports.at(place).into_iter().filter(matches);
        there.try_for_each(|port| self.forget(place, port))
    }

    fn forget(&mut self, place: u16, port: u16) -> Result<()> {
        remove(&mut self.map, &key(place, port)).context(UNWRITABLE)?;
        self.ports.lock().remove(&(place, port));
        Ok(())
    }
}

const fn key(listener: u16, port: u16) -> Raw<DrainedPort> {
    Raw(DrainedPort { listener, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_drained_whole_or_by_port() {
        let ports = DrainedPorts::default();
        ports.lock().extend([(1, 443), (2, DrainedPort::ALL)]);
        assert_eq!(ports.among(1, &[80, 443]), [443]);
        assert_eq!(ports.among(2, &[80, 443]), [80, 443]);
        assert!(ports.among(3, &[80, 443]).is_empty());
        assert_eq!([0, 1, 2, 3].map(|place| ports.any(place)), [false, true, true, false]);
        assert_eq!([1, 2].map(|place| ports.has_all(place)), [false, true]);
    }
}
