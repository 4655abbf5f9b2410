//! `GET /v1/status`.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;
use ipnet::IpNet;
use proxyip_common::counter::{Counter, DropReason, Reason};
use proxyip_common::verdict::Verdict;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::hand_offs::{Connections, NewConnections};
use crate::api::Source;
use crate::config::{HandOffChoice, Listener, Netns, Networks};
use crate::desired::active::Active;
use crate::tables::outcomes::Outcome;

/// Numbers by label.
pub type Numbers = BTreeMap<String, u64>;

/// What the agent does and has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// The agent's process id.
    pub pid: u32,
    /// How long the agent has been running, in seconds.
    #[serde(default)]
    pub uptime_s: u64,
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
    /// Connections that are translated now.
    pub translated: u64,
    /// How many there can be.
    #[serde(default)]
    pub limits: Limits,
    /// What the kernel cannot do, and the fallback that is taken; a line each.
    pub kernel: Vec<String>,
    /// What is allowed in the configuration but probably a mistake; a sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What is wrong: interfaces that are gone, listeners whose connections the stack refuses, and what traffic tells of
    /// mistakes in the configuration, here or at the load balancer; a sentence each.
    #[serde(default)]
    pub findings: Vec<String>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InterfaceJson {
    /// Its name.
    pub name: String,
    /// `host`, or the path of a namespace file.
    pub netns: String,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListenerJson {
    /// Its name.
    pub name: String,
    /// The guarded ports, ascending.
    pub ports: Vec<u16>,
    /// Sources whose connections start with a PROXY header, as far as the configuration itself has them.
    #[schema(value_type = Vec<String>, example = json!(["10.0.0.0/16"]))]
    pub trusted: Vec<IpNet>,
    /// How many more a file has.
    #[serde(default)]
    pub trusted_by_file: usize,
    /// How many networks of clients are allowed by configuration and file; absent without such a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<usize>,
    /// Likewise, how many are denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<usize>,
    /// What happens to denied clients: `reset`, `drop` or `mark`.
    pub denied: String,
    /// The hand-off as configured.
    pub hand_off: String,
    /// The hand-off of new connections.
    pub new_connections: NewConnections,
    /// Connections by hand-off.
    pub connections: Vec<Connections>,
    /// Connections by verdict, since the pins were made.
    #[serde(default)]
    pub verdicts: Verdicts,
}

/// How many entries tables can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    /// Flows.
    pub flows: u64,
    /// Translated connections.
    pub translated: u64,
}

/// Connections by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verdicts {
    /// Established.
    pub accept: u64,
    /// Established, though the client is denied: its packets are marked.
    pub mark: u64,
    /// Reset.
    pub reset: u64,
    /// Dropped.
    pub drop: u64,
}

impl Verdicts {
    fn of(outcomes: &[Outcome]) -> Self {
        let count = |verdict| {
            let of_verdict = outcomes.iter().filter(|outcome| outcome.verdict == verdict);
            of_verdict.map(|outcome| outcome.count).sum()
        };
        Self {
            accept: count(Verdict::Accept),
            mark: count(Verdict::Mark),
            reset: count(Verdict::Reset),
            drop: count(Verdict::Drop),
        }
    }
}

/// All listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListenersJson {
    /// In the order of the configuration.
    pub listeners: Vec<ListenerJson>,
}

pub(crate) fn read(source: &dyn Source, active: &Active, started: Instant) -> Result<Status> {
    let interfaces = active.config.interfaces.iter().map(|interface| InterfaceJson {
        name: interface.name.clone(),
        netns: match &interface.netns {
            Netns::Host => "host".into(),
            Netns::Path(path) => path.display().to_string(),
        },
    });
    let (flows, translated) = source.capacity();
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_s: started.elapsed().as_secs(),
        counters: labelled(source.counters()?, Counter::label),
        drops: labelled(source.drops()?, DropReason::label),
        left_to_kernel: labelled(source.left_to_kernel()?, Reason::label),
        interfaces: interfaces.collect(),
        listeners: listeners(source, active)?,
        flows: source.flow_count()?,
        translated: source.translated()?,
        limits: Limits { flows, translated },
        kernel: source.limits(),
        warnings: active.warnings.clone(),
        findings: findings(source, active)?,
    })
}

/// What somebody should look at.
fn findings(source: &dyn Source, active: &Active) -> Result<Vec<String>> {
    let mut findings = source.detached();
    for (place, listener) in active.listeners() {
        let reason = source.obstacle(place)?.map(|obstacle| obstacle.reason);
        if listener.hand_off == HandOffChoice::Auto && reason == Some(Reason::StackRefuses) {
            findings.push(format!(
                "new connections of listener {:?} are translated until the agent is restarted, because none that was \
                 handed over was established for a while: look for firewall rules that drop ACKs without a SYN, or that \
                 refuse every client by a set",
                listener.name
            ));
        }
    }
    findings.extend(source.findings());
    Ok(findings)
}

pub(crate) fn listeners(source: &dyn Source, active: &Active) -> Result<Vec<ListenerJson>> {
    active.listeners().map(|(place, one)| listener(source, place, one)).collect()
}

fn listener(source: &dyn Source, place: u16, listener: &Listener) -> Result<ListenerJson> {
    let obstacle = source.obstacle(place)?;
    Ok(ListenerJson {
        name: listener.name.clone(),
        ports: listener.ports.clone(),
        trusted: listener.trusted.written.clone(),
        trusted_by_file: listener.trusted.file.as_ref().map_or(0, |file| file.networks.len()),
        allow: count(&listener.allow),
        deny: count(&listener.deny),
        denied: listener.denied_label().into(),
        hand_off: listener.hand_off_label().into(),
        new_connections: NewConnections::new(listener.hand_off, obstacle.as_ref()),
        connections: Connections::of(&source.listener_counts(place)?),
        verdicts: Verdicts::of(&source.outcomes(place)?),
    })
}

fn count(networks: &Networks) -> Option<usize> {
    networks.is_given().then(|| networks.iter().count())
}

fn labelled<T: Copy>(numbers: Vec<(T, u64)>, label: impl Fn(T) -> &'static str) -> Numbers {
    numbers.into_iter().map(|(what, number)| (label(what).into(), number)).collect()
}
