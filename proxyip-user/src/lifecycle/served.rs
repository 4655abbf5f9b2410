//! The namespaces that the agent serves: opened and followed.

use anyhow::{Result, ensure};

use super::attachments::OfNamespace;
use crate::bpf::loader::Instance;
use crate::bpf::poll::{self, Messages};
use crate::bpf::strays;
use crate::config::Config;
use crate::desired::targets::by_namespace;
use crate::host::capability::Capability;
use crate::host::links::check_interface;
use crate::host::namespace::{self, Namespace};
use crate::host::served::{Entrance, Member, Served};
use crate::reconcile::namespaces::Watcher;
use crate::supervise::Health;

/// A namespace to be served.
pub(super) struct Wanted<'a> {
    pub(super) entrance: Entrance,
    pub(super) interfaces: Vec<&'a str>,
}

/// Opens the namespaces and makes sure that their interfaces can be attached to.
pub(super) fn open_namespaces<'a>(
    config: &'a Config,
    capability: &Capability,
) -> Result<Vec<Wanted<'a>>> {
    let mut namespaces: Vec<Wanted> = Vec::new();
    for (netns, interfaces) in by_namespace(&config.interfaces) {
        let cookie = Namespace::open(netns)?.run(|| {
            interfaces.iter().try_for_each(|interface| check_interface(interface, netns))?;
            strays::check(&config.agent.pin_path, &interfaces)?;
            if capability.netns_cookie { namespace::cookie() } else { Ok(0) }
        })?;
        let twice = namespaces.iter().any(|other| other.entrance.cookie() == cookie);
        ensure!(!twice, "the configuration names a network namespace twice");
        namespaces.push(Wanted { entrance: Entrance::new(netns.clone(), cookie), interfaces });
    }
    Ok(namespaces)
}

pub(super) fn cookies(namespaces: &[Wanted]) -> Vec<u64> {
    namespaces.iter().map(|one| one.entrance.cookie()).collect()
}

/// The list of the namespaces, by those who follow them.
pub(super) fn served(namespaces: &[Wanted], instances: &[(Instance, Watcher)]) -> Served {
    let served = Served::default();
    for (one, (_, watcher)) in namespaces.iter().zip(instances) {
        served.add(Member { entrance: one.entrance.clone(), seen: watcher.seen() });
    }
    served
}

/// What belongs to each namespace, and who follows it.
pub(super) fn split(
    namespaces: &[Wanted],
    instances: Vec<(Instance, Watcher)>,
    capability: &Capability,
) -> (Vec<OfNamespace>, Vec<Watcher>) {
    let split = |(one, (instance, watcher)): (&Wanted, (Instance, Watcher))| {
        if let Some(logger) = instance.logger {
            tokio::spawn(relay(logger));
        }
        let of_namespace = OfNamespace {
            entrance: one.entrance.clone(),
            programs: instance.programs,
            interfaces: one.interfaces.iter().copied().map(Into::into).collect(),
            tcx: capability.tcx,
        };
        (of_namespace, watcher)
    };
    namespaces.iter().zip(instances).map(split).unzip()
}

/// Follows each namespace from now on.
pub(super) fn follow(
    namespaces: Vec<Wanted>,
    watchers: Vec<Watcher>,
    health: &Health,
) -> Result<()> {
    let mut both = namespaces.into_iter().zip(watchers);
    both.try_for_each(|(one, watcher)| watcher.spawn(one.entrance, health))
}

/// Passes the programs' messages on to the log.
async fn relay(logger: Messages) -> Result<()> {
    let mut logger = poll::messages(logger)?;
    loop {
        let mut ready = logger.readable_mut().await?;
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}
