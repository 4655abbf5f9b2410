//! The namespaces that the agent serves: opened, attached to and followed.

use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::bpf::links::Links;
use crate::bpf::loader::Instance;
use crate::bpf::poll::{self, Messages};
use crate::config::{Interface, Netns};
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
    interfaces: &'a [Interface],
    capability: &Capability,
) -> Result<Vec<Served<'a>>> {
    let mut namespaces: Vec<Served> = Vec::new();
    for (netns, interfaces) in by_namespace(interfaces) {
        let namespace = Namespace::open(netns)?;
        let cookie = namespace.run(|| {
            interfaces.iter().try_for_each(|interface| check_interface(interface))?;
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

/// Attaches to the interfaces of each namespace, and follows it from then on.
pub(super) fn attach(
    namespaces: Vec<Served>,
    instances: Vec<(Instance, Watcher)>,
    links: &mut Links,
    health: &Health,
) -> Result<Vec<(Netns, Arc<Seen>)>> {
    let mut seen = Vec::new();
    for (Served { namespace, netns, interfaces, .. }, (mut instance, mut watcher)) in
        namespaces.into_iter().zip(instances)
    {
        namespace.run(|| {
            instance.attach(links, &interfaces)?;
            watcher.attached(&interfaces)
        })?;
        seen.push((netns.clone(), watcher.seen()));
        watcher.spawn(namespace, netns, health)?;
        if let Some(logger) = instance.logger {
            tokio::spawn(relay(logger));
        }
    }
    Ok(seen)
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
