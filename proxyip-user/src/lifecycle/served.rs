//! The namespaces that the agent serves when it starts: opened, and found fit.

use anyhow::{Result, ensure};

use super::patterns;
use crate::bpf::{links, pins, strays};
use crate::config::Config;
use crate::desired::targets::{Target, named, targets};
use crate::host::capability::Capability;
use crate::host::entrance::Entrance;
use crate::host::links::check_interface;
use crate::host::matching::files;
use crate::host::namespace;

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

/// Refuses to take over from another version that guards where this one sees nothing: its programs would keep its tables there,
/// and the programs on sockets would have others.
///
/// # Errors
/// If that is so.
pub(super) fn see_all(config: &Config, capability: &Capability) -> Result<()> {
    if !patterns::may_miss(&config.interfaces) {
        return Ok(());
    }
    let all = targets(&config.interfaces, files);
    let seen = all.iter().filter_map(|target| Entrance::find(&target.netns, capability).ok());
    let (seen, own): (Vec<_>, _) = (seen.collect(), namespace::own_numbers());
    let is_seen =
        |number: u64| own.contains(&Some(number)) || seen.iter().any(|one| one.is_number(number));
    let attached = links::all_attached(&config.agent.pin_path)?;
    let numbers = attached.iter().filter_map(|pin| pins::namespace(&pins::name(pin)));
    let unseen = numbers.filter(|number| !is_seen(*number)).count();
    ensure!(
        unseen == 0,
        "programs of a version with another layout guard in network namespaces that cannot be seen now ({unseen}): the agent \
         takes over when it sees them. In a container, mount the directory of their files (mountPropagation: \
         HostToContainer). Otherwise run `proxyip detach`"
    );
    Ok(())
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
    let mut cookies = links::cookies(&links::all_attached(&config.agent.pin_path)?);
    cookies.extend(all.iter().filter_map(cookie).map(|entrance| entrance.cookie()));
    Ok(cookies.into_iter().collect())
}
