//! The policy alone: the pinned maps and what writes them, with nothing attached to any interface.

use std::sync::Arc;

use anyhow::Result;

use super::kernel::options;
use crate::bpf::loader::Loader;
use crate::bpf::probe::probe;
use crate::config::{Config, KernelLog};
use crate::host::served::Served;
use crate::reconcile::control::Control;
use crate::reconcile::sets::Sets;
use crate::reconcile::writer::Writer;
use crate::tables::maps::FlowMap;
use crate::tables::ports::Ports;

/// Puts the listeners of a configuration in force as an agent does that starts, in the maps under its `pin_path`. No
/// traffic meets them. This is what a test of the policy needs.
///
/// # Errors
/// If the kernel refuses the maps, or root is missing.
pub fn start(config: &Config) -> Result<Control> {
    let pin_path = &config.agent.pin_path;
    let loader = Loader::new(options(&config.agent, KernelLog::Off), &probe()?)?;
    let mut shared = loader.sockets()?;
    let served = Served::default();
    let flows = FlowMap::new(&mut shared, served.clone(), loader.lookups()?)?;
    let writer = Writer::open(pin_path, Ports::open(pin_path)?)?;
    Control::start(writer, config, Sets::new(Arc::new(loader), pin_path, served), flows)
}
