//! What a file says, as types.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};
use proxyip_common::cookie::EPOCH_NS;

use super::api::{Api, GroupName};
use super::listener::Listener;
use super::networks::{ListSpec, Networks};
use super::places::{Names, Namespaces, Netns, Xdp};
use super::problem::At;

/// Where kernel programs, maps and links are pinned.
pub const DEFAULT_PIN_PATH: &str = "/sys/fs/bpf/proxyip";
/// Where the host's processes are seen.
pub const DEFAULT_PROCFS_PATH: &str = "/proc";
/// Where the host's named network namespaces are seen.
pub const DEFAULT_NETNS_PATH: &str = "/run/netns";
/// Name of an interface that has none in the configuration.
const DEFAULT_INTERFACE: &str = "eth0";
/// Entries of the flow table for each processor of the host.
const FLOWS_A_PROCESSOR: u32 = 32_768;
/// The least and the most that there are then.
const FLOWS: [u32; 2] = [65_536, 262_144];
/// Entries of the table of translated connections.
const DEFAULT_MAX_TRANSLATED: u32 = 262_144;
/// How many listeners the tables have room for.
const DEFAULT_MAX_LISTENERS: u32 = 256;
/// In MiB.
const DEFAULT_MAX_TLV_MEMORY: u32 = 64;

/// The content of a file. It is checked where the text alone is enough for the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// `[[interface]]`; at least one.
    pub interfaces: Vec<Interface>,
    /// `[[listener]]`; at least one, names and ports are unique.
    pub listeners: Vec<Listener<ListSpec>>,
    /// `[[set]]`; names are unique.
    pub sets: Vec<Set<ListSpec>>,
    /// `[api]`
    pub api: Api<At<GroupName>>,
    /// `[log]`
    pub log: Log,
    /// `[agent]`
    pub agent: Agent,
}

/// A checked configuration, with what it names on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The interfaces to attach to; at least one.
    pub interfaces: Vec<Interface>,
    /// The listeners; at least one, names and ports are unique. A flow's record holds the index.
    pub listeners: Vec<Listener>,
    /// The named sets; names are unique.
    pub sets: Vec<Set>,
    /// `[api]`
    pub api: Api,
    /// `[log]`
    pub log: Log,
    /// `[agent]`
    pub agent: Agent,
    /// Where all this was read.
    pub origin: Origin,
}

/// Where a configuration was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The absolute path of the file; `None` without a file.
    pub file: Option<PathBuf>,
    /// The keys that flags of the command line set, such as `api.socket`. A reload keeps them.
    pub flags: Vec<&'static str>,
}

/// Where an agent with a file would answer, and where it would pin, by what can be read of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// `[api] socket`
    pub socket: PathBuf,
    /// `[agent] pin_path`
    pub pin_path: PathBuf,
}

/// `[[interface]]`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Interface {
    /// The interface's name, or a pattern of names.
    pub name: Names,
    /// The network namespace it is in, or a pattern of files of namespaces.
    pub netns: Namespaces,
    /// Whether there is a program at XDP too.
    pub xdp: Xdp,
}

/// `[[set]]`; a list of networks is an `L`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set<L = Networks> {
    /// Its name, which is that of a pin.
    pub name: String,
    /// Its members.
    pub networks: L,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The flow log's format.
    pub flows: FlowFormat,
    /// Where its lines go.
    pub to: Destination,
}

/// Where the flow log's lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// The end of this file.
    File(PathBuf),
    /// The systemd journal.
    Journald,
}

/// Format of the flow log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowFormat {
    /// A JSON object per line.
    Json,
    /// A record in the default format of AWS VPC flow logs per line.
    Vpc,
    /// No flow log.
    Off,
}

/// `[agent]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Where kernel programs, maps and links are pinned.
    pub pin_path: PathBuf,
    /// The proc file system that shows the host's processes.
    pub procfs_path: PathBuf,
    /// The directory of the host's named network namespaces.
    pub netns_path: PathBuf,
    /// Entries of the flow table, 1024 to 16777216.
    pub max_flows: u32,
    /// How many connections can be translated at a time, 1024 to 16777216.
    pub max_translated: u32,
    /// How many listeners the tables have room for, 1 to 1024.
    pub max_listeners: u32,
    /// How much memory the TLVs of flows take in the agent, in MiB, 1 to 65536.
    pub max_tlv_memory: u32,
    /// How long the accept hand-off waits for a header's first byte, at least, 1 to 86400 s; at most twice as long.
    pub handshake_timeout: Duration,
}

/// How much the kernel programs say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum KernelLog {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Config {
    /// Where its agent answers, and where it pins.
    #[must_use]
    pub fn whereabouts(&self) -> Whereabouts {
        let (socket, pin_path) = (self.api.socket.clone(), self.agent.pin_path.clone());
        Whereabouts { socket, pin_path }
    }

    /// The paths of all files of networks. A path that several lists name comes several times.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let of_listeners = self
            .listeners
            .iter()
            .flat_map(|listener| [&listener.trusted, &listener.allow, &listener.deny]);
        let of_sets = self.sets.iter().map(|set| &set.networks);
        of_listeners.chain(of_sets).filter_map(|list| Some(list.file.as_ref()?.path.as_path()))
    }
}

impl Interface {
    /// Whether both entries choose the same.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.name == other.name && self.netns == other.netns
    }

    /// Whether it chooses by a pattern. What a pattern does not find is not missing.
    #[must_use]
    pub const fn is_pattern(&self) -> bool {
        matches!(self.name, Names::Like(_)) || matches!(self.netns, Namespaces::Like(_))
    }
}

/// How many flows the flow table can hold, if the configuration does not say so, on a host with so many processors.
#[must_use]
pub fn default_max_flows(processors: u32) -> u32 {
    let [least, most] = FLOWS;
    processors.saturating_mul(FLOWS_A_PROCESSOR).clamp(least, most)
}

/// The processors of the host, whichever of them the agent may use.
#[must_use]
pub fn processors() -> u32 {
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
    online.and_then(|count| u32::try_from(count).ok()).unwrap_or(1)
}

impl Default for Interface {
    fn default() -> Self {
        let (name, netns) = (Names::One(DEFAULT_INTERFACE.into()), Namespaces::One(Netns::Host));
        Self { name, netns, xdp: Xdp::Off }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { flows: FlowFormat::Json, to: Destination::Stdout }
    }
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            pin_path: DEFAULT_PIN_PATH.into(),
            procfs_path: DEFAULT_PROCFS_PATH.into(),
            netns_path: DEFAULT_NETNS_PATH.into(),
            max_flows: default_max_flows(processors()),
            max_translated: DEFAULT_MAX_TRANSLATED,
            max_listeners: DEFAULT_MAX_LISTENERS,
            max_tlv_memory: DEFAULT_MAX_TLV_MEMORY,
            handshake_timeout: Duration::from_nanos(EPOCH_NS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_table_is_as_large_as_the_host() {
        for (processors, flows) in
            [(0, 65_536), (1, 65_536), (2, 65_536), (4, 131_072), (8, 262_144), (u32::MAX, 262_144)]
        {
            assert_eq!(default_max_flows(processors), flows, "{processors}");
        }
        assert!(processors() > 0);
    }
}
