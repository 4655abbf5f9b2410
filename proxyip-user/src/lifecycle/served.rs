//! The namespaces that the agent serves when it starts: opened, and found fit.

use anyhow::{Result, ensure};

use crate::bpf::{links, strays};
use crate::config::Config;
use crate::desired::targets::{Target, named, targets};
use crate::host::capability::Capability;
use crate::host::entrance::Entrance;
use crate::host::links::check_interface;
use crate::host::matching::files;

/// A namespace to be served.
pub(super) struct Wanted<'a> {
    pub(super) entrance: Entrance,
    pub(super) target: Target<'a>,
}

/// Opens the namespaces that entries name, and makes sure that the interfaces they name can be attached to.
///
/// # Errors
/// If one cannot be served.
pub(super) fn open_namespaces<'a>(
    config: &'a Config,
    capability: &Capability,
) -> Result<Vec<Wanted<'a>>> {
    let mut namespaces: Vec<Wanted> = Vec::new();
    for target in named(&config.interfaces) {
        let netns = &target.netns;
        let entrance = Entrance::find(netns, capability)?;
        entrance.run(|| {
            target.named.iter().try_for_each(|interface| check_interface(interface, netns))?;
            strays::check(&config.agent.pin_path, &target.named)
        })?;
        let twice = namespaces.iter().any(|other| other.entrance.cookie() == entrance.cookie());
        ensure!(!twice, "the configuration names a network namespace twice");
        namespaces.push(Wanted { entrance, target });
    }
    Ok(namespaces)
}

/// The cookies of all namespaces that are to be served, those that patterns find among them, and of those that have programs
/// now: they read their entries of `NAMESPACES`, whether this agent sees the namespaces or not.
///
/// # Errors
/// If the pins cannot be read.
pub(super) fn cookies(config: &Config, capability: &Capability) -> Result<Vec<u64>> {
    let all = targets(&config.interfaces, files);
    // What cannot be entered is tried again later.
    let cookie = |target: &Target| Entrance::find(&target.netns, capability).ok();
    let mut cookies = links::namespaces(&config.agent.pin_path)?;
    cookies.extend(all.iter().filter_map(cookie).map(|entrance| entrance.cookie()));
    Ok(cookies)
}
