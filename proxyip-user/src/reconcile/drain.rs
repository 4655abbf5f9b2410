//! Draining: by command, new connections of a listener are refused, while established ones go on.

use proxyip_api::drain::Drained;
use proxyip_common::settings::DrainedPort;

use super::control::Control;
use crate::tables::drained::Change;

/// Why something is not drained, or not taken again. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// There is no listener with this name.
    #[error("there is no listener {name:?}; there are {}", .known.join(", "))]
    NoListener {
        /// The name that was given.
        name: String,
        /// The names of all listeners.
        known: Vec<String>,
    },
    /// The listener does not guard this port.
    #[error("listener {listener:?} does not guard port {port}")]
    NotGuarded {
        /// The listener.
        listener: String,
        /// The port.
        port: u16,
    },
    /// All of the listener is drained, so one port cannot be taken out of that.
    #[error("listener {0:?} is drained with all its ports: resume it without a port")]
    Whole(String),
    /// The kernel refuses.
    #[error("{0:#}")]
    Kernel(#[from] anyhow::Error),
}

/// Drains listeners; may block.
pub trait Drain: Send + Sync + 'static {
    /// Drains or resumes a listener's port, or all. Returns what is drained then.
    ///
    /// # Errors
    /// Why nothing has changed.
    fn drain(
        &self,
        listener: &str,
        port: Option<u16>,
        change: Change,
    ) -> Result<Drained, DrainError>;
}

impl Drain for Control {
    fn drain(
        &self,
        listener: &str,
        port: Option<u16>,
        change: Change,
    ) -> Result<Drained, DrainError> {
        let mut writer = self.writer();
        let active = self.active();
        let Some((place, found)) = active.named(listener) else {
            let known = active.config.listeners.iter().map(|one| one.name.clone()).collect();
            return Err(DrainError::NoListener { name: listener.into(), known });
        };
        let name = || found.name.clone();
        if let Some(port) = port.filter(|port| !found.ports.contains(port)) {
            return Err(DrainError::NotGuarded { listener: name(), port });
        }
        let (ports, which) = (writer.drained(), port.unwrap_or(DrainedPort::ALL));
        if change == Change::Resume && port.is_some() && ports.has_all(place) {
            return Err(DrainError::Whole(name()));
        }
        writer.drain(place, which, change)?;
        let drained = ports.among(place, &found.ports);
        tracing::info!("by command, listener {listener:?}: drained ports are now {drained:?}");
        Ok(Drained { listener: name(), ports: drained })
    }
}
