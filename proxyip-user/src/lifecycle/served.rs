//! The namespaces that the agent serves: opened and followed.

use std::sync::Arc;

use anyhow::{Result, ensure};

use super::attachments::OfNamespace;
use crate::bpf::loader::Instance;
use crate::bpf::poll::{self, Messages};
use crate::bpf::strays;
use crate::config::{Config, Netns};
use crate::desired::targets::by_namespace;
use crate::host::capability::Capability;
use crate::host::links::check_interface;
use crate::host::namespace::{self, Namespace};
use crate::host::seen::Seen;
use crate::reconcile::namespaces::Watcher;
use crate::supervise::Health;

/// A namespace to be served.
pub(super) struct Served<'a> {
    pub(super) namespace: Namespace,
    pub(super) netns: &'a Netns,
    /// 0 where the kernel programs cannot read it.
    pub(super) cookie: u64,
    pub(super) interfaces: Vec<&'a str>,
}

/// Opens the namespaces and makes sure that their interfaces can be attached to.
pub(super) fn open_namespaces<'a>(
    config: &'a Config,
    capability: &Capability,
) -> Result<Vec<Served<'a>>> {
    let mut namespaces: Vec<Served> = Vec::new();
    for (netns, interfaces) in by_namespace(&config.interfaces) {
        let namespace = Namespace::open(netns)?;
        let cookie = namespace.run(|| {
            interfaces.iter().try_for_each(|interface| check_interface(interface, netns))?;
            strays::check(&config.agent.pin_path, &interfaces)?;
            if capability.netns_cookie { namespace::cookie() } else { Ok(0) }
        })?;
        let twice = namespaces.iter().any(|other| other.cookie == cookie);
        ensure!(!twice, "the configuration names a network namespace twice");
        namespaces.push(Served { namespace, netns, cookie, interfaces });
    }
    Ok(namespaces)
}

pub(super) fn cookies(namespaces: &[Served]) -> Vec<u64> {
    namespaces.iter().map(|one| one.cookie).collect()
}

/// A new handle of each namespace, with its cookie.
pub(super) fn entrances(namespaces: &[Served]) -> Result<Vec<(u64, Namespace)>> {
    namespaces.iter().map(|one| Ok((one.cookie, Namespace::open(one.netns)?))).collect()
}

/// What belongs to each namespace, and who follows it.
pub(super) fn split(
    namespaces: &[Served],
    instances: Vec<(Instance, Watcher)>,
    capability: &Capability,
) -> Result<(Vec<OfNamespace>, Vec<Watcher>)> {
    let split = |(one, (instance, watcher)): (&Served, (Instance, Watcher))| {
        if let Some(logger) = instance.logger {
            tokio::spawn(relay(logger));
        }
        let of_namespace = OfNamespace {
            namespace: Namespace::open(one.netns)?,
            netns: one.netns.clone(),
            cookie: instance.cookie,
            programs: instance.programs,
            interfaces: one.interfaces.iter().copied().map(Into::into).collect(),
            tcx: capability.tcx,
        };
        Ok((of_namespace, watcher))
    };
    namespaces.iter().zip(instances).map(split).collect()
}

/// Follows each namespace from now on.
pub(super) fn follow(
    namespaces: Vec<Served>,
    watchers: Vec<Watcher>,
    health: &Health,
) -> Result<Vec<(Netns, Arc<Seen>)>> {
    let follow = |(Served { namespace, netns, .. }, watcher): (Served, Watcher)| {
        let seen = (netns.clone(), watcher.seen());
        watcher.spawn(namespace, netns, health)?;
        Ok(seen)
    };
    namespaces.into_iter().zip(watchers).map(follow).collect()
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
