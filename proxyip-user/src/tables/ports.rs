//! Which listener guards which port.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use aya::maps::{Array, MapData};
use proxyip_common::settings::RETIRED;

/// The map.
pub(crate) type Ports = Array<MapData, u16>;

/// How many ports there are, port 0 included.
const COUNT: usize = 1 << 16;

/// Ports that are guarded no longer but may have connections that are translated; locked while ports are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retired(Arc<Mutex<BTreeSet<u16>>>);

impl Retired {
    pub(crate) fn lock(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ports of listeners, each with its listener's place.
pub(crate) struct Wanted(Vec<u16>);

impl Wanted {
    pub(crate) fn new(
        listeners: impl Iterator<Item = (u16, impl IntoIterator<Item = u16>)>,
    ) -> Self {
        let mut ports = vec![0; COUNT];
        for (place, of_listener) in listeners {
            for port in of_listener {
                ports[usize::from(port)] = place + 1;
            }
        }
        Self(ports)
    }
}

/// Makes the map say so. Ports that were guarded are retired first.
pub(crate) fn write(ports: &mut Ports, wanted: &Wanted, retired: &Retired) -> Result<()> {
    let mut retired = retired.lock();
    retired.clear();
    for (port, listener) in (0u16..=u16::MAX).zip(&wanted.0) {
        let old = ports.get(&port.into(), 0).context("the guarded ports cannot be read")?;
        let new = if *listener == 0 && old != 0 { RETIRED } else { *listener };
        if new == RETIRED {
            retired.insert(port);
        }
        if new != old {
            ports.set(port.into(), new, 0).context("the guarded ports cannot be written")?;
        }
    }
    Ok(())
}

/// Retires every port that is guarded.
pub(crate) fn retire_all(ports: &mut Ports) -> Result<()> {
    write(ports, &Wanted(vec![0; COUNT]), &Retired::default())
}
