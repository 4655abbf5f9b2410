//! The namespaces that the agent serves when it starts: opened, and found fit.

use anyhow::{Result, ensure};

use crate::bpf::strays;
use crate::config::Config;
use crate::desired::targets::by_namespace;
use crate::host::capability::Capability;
use crate::host::links::check_interface;
use crate::host::served::Entrance;

/// A namespace to be served.
pub(super) struct Wanted<'a> {
    pub(super) entrance: Entrance,
    pub(super) interfaces: Vec<&'a str>,
}

/// Opens the namespaces and makes sure that their interfaces can be attached to.
///
/// # Errors
/// If one cannot be served.
pub(super) fn open_namespaces<'a>(
    config: &'a Config,
    capability: &Capability,
) -> Result<Vec<Wanted<'a>>> {
    let mut namespaces: Vec<Wanted> = Vec::new();
    for (netns, interfaces) in by_namespace(&config.interfaces) {
        let entrance = Entrance::find(netns, capability)?;
        entrance.run(|| {
            interfaces.iter().try_for_each(|interface| check_interface(interface, netns))?;
            strays::check(&config.agent.pin_path, &interfaces)
        })?;
        let twice = namespaces.iter().any(|other| other.entrance.cookie() == entrance.cookie());
        ensure!(!twice, "the configuration names a network namespace twice");
        namespaces.push(Wanted { entrance, interfaces });
    }
    Ok(namespaces)
}

pub(super) fn cookies(namespaces: &[Wanted]) -> Vec<u64> {
    namespaces.iter().map(|one| one.entrance.cookie()).collect()
}
