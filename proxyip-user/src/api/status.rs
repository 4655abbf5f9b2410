//! `GET /v1/status`.

use std::collections::BTreeMap;

use anyhow::Result;
use ipnet::IpNet;
use proxyip_common::counter::{Counter, DropReason, KernelReason};
use serde::{Deserialize, Serialize};

use super::Source;
use crate::config::{Config, Netns};

/// Numbers by label.
pub type Numbers = BTreeMap<String, u64>;

/// What the agent does and has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// The agent's process id.
    pub pid: u32,
    /// What happened, other than drops.
    pub counters: Numbers,
    /// Refusals by reason.
    pub drops: Numbers,
    /// Connections left to the kernel by reason.
    pub left_to_kernel: Numbers,
    /// Where it is attached.
    pub interfaces: Vec<InterfaceJson>,
    /// What it guards.
    pub listeners: Vec<ListenerJson>,
    /// Flows that are known now.
    pub flows: u64,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceJson {
    /// Its name.
    pub name: String,
    /// `host`, or the path of a namespace file.
    pub netns: String,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerJson {
    /// Its name.
    pub name: String,
    /// The guarded ports, ascending.
    pub ports: Vec<u16>,
    /// Sources whose connections start with a PROXY header.
    pub trusted: Vec<IpNet>,
    /// The hand-off as configured.
    pub hand_off: String,
}

pub(super) fn read(source: &dyn Source, config: &Config) -> Result<Status> {
    let interfaces = config.interfaces.iter().map(|interface| InterfaceJson {
        name: interface.name.clone(),
        netns: match &interface.netns {
            Netns::Host => "host".into(),
            Netns::Path(path) => path.display().to_string(),
        },
    });
    let listeners = config.listeners.iter().map(|listener| ListenerJson {
        name: listener.name.clone(),
        ports: listener.ports.clone(),
        trusted: listener.trusted.clone(),
        hand_off: listener.hand_off.label().into(),
    });
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        counters: labelled(source.counters()?, Counter::label),
        drops: labelled(source.drops()?, DropReason::label),
        left_to_kernel: labelled(source.left_to_kernel()?, KernelReason::label),
        interfaces: interfaces.collect(),
        listeners: listeners.collect(),
        flows: source.flow_count()?,
    })
}

fn labelled<T: Copy>(numbers: Vec<(T, u64)>, label: impl Fn(T) -> &'static str) -> Numbers {
    numbers.into_iter().map(|(what, number)| (label(what).into(), number)).collect()
}
