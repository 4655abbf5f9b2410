//! What the agent guards, and what it has counted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::finding::Finding;
use crate::reload::LastReload;

/// Numbers by label.
pub type Numbers = BTreeMap<String, u64>;

/// What the agent does and has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
    /// The patterns of the configuration. `interfaces` has what they find.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<PatternJson>,
    /// What it guards.
    pub listeners: Vec<ListenerJson>,
    /// How the last reload ended.
    #[serde(default)]
    pub last_reload: LastReload,
    /// Rules made by command for listeners that the configuration does not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphaned: Vec<OrphanedRules>,
    /// Flows that are known now.
    pub flows: u64,
    /// Connections that are translated now.
    pub translated: u64,
    /// How many there can be.
    #[serde(default)]
    pub limits: Limits,
    /// The settings in force, beside interfaces and listeners.
    #[serde(default)]
    pub settings: Settings,
    /// How often a kernel program or its pin was missing, and was put back.
    #[serde(default)]
    pub mended: u64,
    /// What the kernel cannot do, and the fallback that is taken; a line each.
    pub kernel: Vec<String>,
    /// What is allowed in the configuration but probably a mistake; a sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What is wrong; a sentence each. It may be an interface that is gone, or a listener whose connections the stack
    /// refuses. It may be a mistake that traffic shows, in the configuration here or at the load balancer.
    #[serde(default)]
    pub findings: Vec<String>,
    /// The warnings, then the findings, each with its label.
    #[serde(default)]
    pub remarks: Vec<Finding>,
}

impl Status {
    /// The warnings, and the findings. They have no labels if an older agent gave none.
    #[must_use]
    pub fn split_remarks(&self) -> (Vec<Finding>, Vec<Finding>) {
        if let Some((warnings, findings)) = self.remarks.split_at_checked(self.warnings.len())
            && findings.len() == self.findings.len()
        {
            return (warnings.to_vec(), findings.to_vec());
        }
        let unlabelled = |sentences: &[String]| {
            let finding =
                |sentence: &String| Finding { label: "".into(), sentence: sentence.clone() };
            sentences.iter().map(finding).collect()
        };
        (unlabelled(&self.warnings), unlabelled(&self.findings))
    }
}

/// Rules made by command for a listener that the configuration does not have. They are in force again when it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrphanedRules {
    /// The listener's name.
    pub listener: String,
    /// How many rules there are.
    pub rules: usize,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InterfaceJson {
    /// Its name.
    pub name: String,
    /// `host`, or the path of a namespace file.
    pub netns: String,
    /// What became of the wish for a program at XDP; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xdp: Option<XdpJson>,
}

/// What became of the wish for a program at XDP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct XdpJson {
    /// As configured: `auto`, `native` or `generic`.
    pub wanted: String,
    /// Where the program runs: `native`, `generic`, or `none`. Then TC does its work.
    pub mode: String,
    /// Why it runs nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An entry of the configuration with a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PatternJson {
    /// What the names of interfaces look like.
    pub name: String,
    /// `host`, the path of a namespace file, or what their paths look like.
    pub netns: String,
    /// How many interfaces it finds now.
    pub interfaces: usize,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ListenerJson {
    /// Its name.
    pub name: String,
    /// The guarded ports, ascending.
    pub ports: Vec<u16>,
    /// Sources whose connections start with a PROXY header, if the configuration itself names them.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>, example = json!(["10.0.0.0/16"])))]
    pub trusted: Vec<IpNet>,
    /// How many more a file has.
    #[serde(default)]
    pub trusted_by_file: usize,
    /// How many networks of clients are allowed by configuration and file; absent without a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<usize>,
    /// How many are denied; absent without a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<usize>,
    /// What happens to denied clients: `reset`, `drop` or `mark`.
    pub denied: String,
    /// The hand-off as configured.
    pub hand_off: String,
    /// The ports that a command has drained: new connections are refused there. Absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drained: Vec<u16>,
    /// The hand-off of new connections.
    pub new_connections: NewConnections,
    /// Ports whose new connections get a lesser hand-off for a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<DegradedPort>,
    /// Connections by hand-off.
    pub connections: Vec<Connections>,
    /// Connections by verdict, since the pins were made.
    #[serde(default)]
    pub verdicts: Verdicts,
    /// Connections of trusted sources that began without a header, since the pins were made: reset, or let in as the load
    /// balancer's own.
    #[serde(default)]
    pub headerless: u64,
}

/// A port whose new connections are translated for a while, though accept is possible by the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DegradedPort {
    /// The port.
    pub port: u16,
    /// `host`, or the path of a namespace file.
    pub netns: String,
    /// The label of the reason.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "stack_refuses"))]
    pub reason: Cow<'static, str>,
    /// In how many seconds accept is tried again.
    pub retry_s: u64,
}

/// Sections of the configuration, as they are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Settings {
    /// `[api]`
    pub api: ApiSettings,
    /// `[log]`
    pub log: LogSettings,
    /// `[agent]`, apart from the sizes of tables.
    pub agent: AgentSettings,
}

/// Where the agent answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiSettings {
    /// The path of the Unix socket for HTTP.
    pub socket: String,
    /// The path of the Unix socket for the line protocol.
    pub lookup_socket: String,
    /// The TCP address for HTTP; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "127.0.0.1:9811"))]
    pub http: Option<SocketAddr>,
    /// Whether that may be another address than a loopback address.
    pub http_remote: bool,
    /// Whether `getsockopt()` tells applications the client.
    pub getsockopt: bool,
}

/// The flow log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogSettings {
    /// `json`, `vpc` or `off`.
    pub flows: String,
    /// `stdout`, `journald`, or the path of a file.
    pub to: String,
}

/// The agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentSettings {
    /// The directory of pins.
    pub pin_path: String,
    /// The proc file system that shows the host's processes.
    #[serde(default)]
    pub procfs_path: String,
    /// The directory of the host's named network namespaces.
    #[serde(default)]
    pub netns_path: String,
    /// The memory for the TLVs of flows, in MiB.
    pub max_tlv_memory_mib: u32,
    /// How long `accept` waits for a header, in seconds.
    pub handshake_timeout_s: u64,
}

/// How many entries tables can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Limits {
    /// Flows.
    pub flows: u64,
    /// Translated connections.
    pub translated: u64,
}

/// Connections by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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

/// All listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ListenersJson {
    /// In the order of the configuration.
    pub listeners: Vec<ListenerJson>,
}

/// What a new connection gets, if the application listens with an ordinary socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewConnections {
    /// `accept`, `translate` or `observe`.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "accept"))]
    pub hand_off: Cow<'static, str>,
    /// A sentence.
    pub why: String,
}

/// Connections of one kind, since the pins were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Connections {
    /// `accept`, `translate` or `observe`.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "accept"))]
    pub hand_off: Cow<'static, str>,
    /// The label of the reason for which they were translated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "mptcp"))]
    pub reason: Option<Cow<'static, str>>,
    /// The reason for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub sentence: Option<Cow<'static, str>>,
    /// How many.
    pub count: u64,
}
