//! Which listener guards which port.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use aya::maps::{Array, MapData};
use proxyip_common::settings::{HELD, RETIRED};

use super::maps::open_owned_in;
use super::owners::claim;
use crate::bpf::pins::map_directory;
use crate::steps::step;

/// The ports, and what guards them. All clones write through one lock.
#[derive(Clone)]
pub(crate) struct Ports(Arc<Mutex<State>>);

struct State {
    map: Array<MapData, u16>,
    /// What the map says of each port. Nobody else writes it.
    written: Vec<u16>,
    /// Ports that are guarded no longer but may have connections that are translated.
    retired: BTreeSet<u16>,
}

impl Ports {
    /// Opens the map.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn open(pin_path: &Path) -> Result<Self> {
        Self::open_in(&map_directory(pin_path))
    }

    /// As [`Ports::open`], in a directory of maps of any layout.
    pub(crate) fn open_in(directory: &Path) -> Result<Self> {
        let map: Array<MapData, u16> = open_owned_in(directory, &claim!("PORTS"))?;
        let read = |port: u16| map.get(&port.into(), 0);
        let written: Result<Vec<_>, _> = (0u16..=u16::MAX).map(read).collect();
        let written = written.context("the guarded ports cannot be read")?;
        let ports = (0u16..=u16::MAX).zip(&written);
        let retired = ports.filter(|(_, there)| **there == RETIRED).map(|(port, _)| port);
        let retired = retired.collect();
        Ok(Self(Arc::new(Mutex::new(State { map, written, retired }))))
    }

    /// Has these ports guarded by the listeners at these places. Others that were guarded are retired first.
    ///
    /// # Errors
    /// If the map cannot be written; the ports before the one that failed have changed.
    pub(crate) fn write(&self, guarded: &BTreeMap<u16, u16>) -> Result<()> {
        let mut state = self.lock();
        for port in 0..=u16::MAX {
            let there = state.written[usize::from(port)];
            let new = match guarded.get(&port) {
                Some(place) => place + 1,
                None if there != 0 => RETIRED,
                None => 0,
            };
            state.set(port, new)?;
        }
        Ok(())
    }

    /// Lets nothing come through to guarded and retired ports, until the answer is released or dropped.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub(crate) fn hold(&self) -> Result<Hold> {
        let hold = Hold(self.clone());
        step();
        self.lock().show(|_| HELD)?;
        step();
        Ok(hold)
    }

    /// The ports that are guarded now, with the places of their listeners.
    pub(crate) fn guarded(&self) -> BTreeMap<u16, u16> {
        let state = self.lock();
        let ports = (0u16..=u16::MAX).zip(&state.written);
        let guarded = ports.filter(|(_, there)| ![0, RETIRED].contains(there));
        guarded.map(|(port, there)| (port, there - 1)).collect()
    }

    /// Retires every port that is guarded.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub(crate) fn retire_all(&self) -> Result<()> {
        self.write(&BTreeMap::new())
    }

    /// The ports that are retired now.
    pub(crate) fn retired(&self) -> BTreeSet<u16> {
        self.lock().retired.clone()
    }

    /// Lets go of those of these ports that are still retired; returns them.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub(crate) fn release(&self, ports: impl Iterator<Item = u16>) -> Result<Vec<u16>> {
        let mut state = self.lock();
        let mut released = Vec::new();
        for port in ports {
            if state.retired.contains(&port) {
                state.set(port, 0)?;
                released.push(port);
            }
        }
        Ok(released)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While it exists, nothing comes through to guarded ports. Nobody may write the ports meanwhile.
pub(crate) struct Hold(Ports);

impl Hold {
    /// Lets everything through again.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub(crate) fn release(self) -> Result<()> {
        self.0.lock().show(|written| written)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Err(error) = self.0.lock().show(|written| written) {
            tracing::error!("guarded ports are held: {error:#}");
        }
    }
}

impl State {
    /// Has the map say something else of each port that is guarded or retired.
    fn show(&mut self, of: impl Fn(u16) -> u16) -> Result<()> {
        for (port, written) in (0u16..=u16::MAX).zip(&self.written) {
            if *written != 0 {
                let shown = self.map.set(port.into(), of(*written), 0);
                shown.context("the guarded ports cannot be written")?;
            }
        }
        Ok(())
    }

    fn set(&mut self, port: u16, new: u16) -> Result<()> {
        if self.written[usize::from(port)] != new {
            step();
            self.map.set(port.into(), new, 0).context("the guarded ports cannot be written")?;
            self.written[usize::from(port)] = new;
        }
        if new == RETIRED {
            self.retired.insert(port);
        } else {
            self.retired.remove(&port);
        }
        Ok(())
    }
}
