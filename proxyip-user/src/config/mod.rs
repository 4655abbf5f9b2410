//! The configuration: what to guard, where, and how.
//!
//! Pure: a text becomes a [`Spec`], without a look at this host. The room `inputs` reads what a specification points
//! at, the lists of networks and the groups. It gives the [`Config`], which is complete and checked: the rest of the
//! agent need not look for contradictions. Command-line flags give one at once ([`Config::from_arguments`]).

mod api;
mod file;
mod listeners;
pub(crate) mod networks;
mod problem;
pub mod schema;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod value;
mod warnings;

use std::collections::HashSet;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use proxyip_common::cookie::EPOCH_NS;
pub use proxyip_common::settings::{Denied, HandOffChoice, Untrusted};

pub use self::api::{Access, Api, GroupName};
pub use self::networks::{ListSpec, NetworkFile, Networks};
pub use self::problem::{At, ConfigError, Fault, Place, Problem};
pub use self::value::{PortRange, interface_name, network, network_or_address, port_ranges};

/// Where kernel programs, maps and links are pinned.
pub const DEFAULT_PIN_PATH: &str = "/sys/fs/bpf/proxyip";
/// Where the agent answers.
pub const DEFAULT_SOCKET: &str = "/run/proxyip/api.sock";
/// Name of an interface that has none in the configuration.
const DEFAULT_INTERFACE: &str = "eth0";
/// Name of a listener that has none in the configuration, or that comes from flags.
const DEFAULT_LISTENER: &str = "default";
/// Entries of the flow table.
const DEFAULT_MAX_FLOWS: u32 = 262_144;
/// Entries of the table of translated connections.
const DEFAULT_MAX_TRANSLATED: u32 = 262_144;
/// The mark of denied connections.
const DEFAULT_MARK: u32 = 0x50;
/// How long a header that has begun may take.
const DEFAULT_HEADER_TIMEOUT: Duration = Duration::from_secs(5);

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

impl Spec {
    /// Reads the text of a TOML file.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the lines.
    pub fn from_toml(text: &str) -> Result<Self, Vec<Problem>> {
        match file::read(text) {
            (Some(spec), problems) if problems.is_empty() => Ok(spec),
            (_, problems) => Err(problems),
        }
    }

    /// Reads the text of a TOML file as well as it can be read. Returns what is right, or nothing if the text is not
    /// TOML. Also returns everything that is wrong, in the order of the lines.
    #[must_use]
    pub fn read(text: &str) -> (Option<Self>, Vec<Problem>) {
        file::read(text)
    }
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
}

/// `[[interface]]`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Interface {
    /// The interface's name.
    pub name: String,
    /// The network namespace it is in.
    pub netns: Netns,
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Netns {
    /// The namespace that the agent was started in.
    Host,
    /// The namespace that this file stands for, for example `/run/netns/blue`.
    Path(PathBuf),
}

/// `[[listener]]`; a list of networks is an `L`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener<L = Networks> {
    /// Its name in logs and the API.
    pub name: String,
    /// The guarded ports, ascending, each once.
    pub ports: Vec<u16>,
    /// Sources whose connections start with a PROXY header. An IPv6 network never includes IPv4 sources.
    pub trusted: L,
    /// What happens to other sources.
    pub untrusted: Untrusted,
    /// PROXY protocol versions that are allowed.
    pub versions: Versions,
    /// What happens to headers that name no client.
    pub unknown: Unknown,
    /// How connections are given to the application.
    pub hand_off: HandOffChoice,
    /// How long after its first byte a header must be complete, 1 to 300 s.
    pub header_timeout: Duration,
    /// Clients that may connect; if it is given, all others may not.
    pub allow: L,
    /// Clients that may not connect. The longest prefix wins.
    pub deny: L,
    /// What happens to clients that may not connect.
    pub denied: Denied,
    /// The bits that the packets of denied connections carry in their marks; not 0.
    pub mark: u32,
}

/// `[[set]]`; a list of networks is an `L`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set<L = Networks> {
    /// Its name, which is that of a pin.
    pub name: String,
    /// Its members.
    pub networks: L,
}

/// `versions` of a listener; at least one is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Text headers are allowed.
    pub v1: bool,
    /// Binary headers are allowed.
    pub v2: bool,
}

/// `unknown` of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The connection is accepted; its client is the peer.
    Accept,
    /// The connection is reset.
    Reset,
}

impl Listener {
    /// `denied` as the configuration and the API name it.
    #[must_use]
    pub const fn denied_label(&self) -> &'static str {
        match self.denied {
            Denied::Reset => "reset",
            Denied::Drop => "drop",
            Denied::Mark => "mark",
        }
    }

    /// `hand_off` as the configuration and the API name it.
    #[must_use]
    pub const fn hand_off_label(&self) -> &'static str {
        match self.hand_off {
            HandOffChoice::Auto => "auto",
            HandOffChoice::Accept => "accept",
            HandOffChoice::Translate => "translate",
            HandOffChoice::Observe => "observe",
        }
    }
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
    /// Entries of the flow table, 1024 to 16777216.
    pub max_flows: u32,
    /// How many connections can be translated at a time, 1024 to 16777216.
    pub max_translated: u32,
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
    /// One listener, with every other setting at its default. The lists must not be empty.
    #[must_use]
    pub fn from_arguments(
        interfaces: Vec<String>,
        ports: &[PortRange],
        trusted: Vec<IpNet>,
    ) -> Self {
        let interfaces = interfaces.into_iter().map(|name| Interface { name, netns: Netns::Host });
        Self {
            interfaces: distinct(interfaces),
            listeners: vec![Listener {
                ports: value::expand(ports),
                trusted: distinct(trusted).into(),
                ..Listener::default()
            }],
            sets: Vec::new(),
            api: Api::default(),
            log: Log::default(),
            agent: Agent::default(),
        }
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

/// Everything at its default; `ports` and `trusted`, which have none, are empty.
impl Default for Listener {
    fn default() -> Self {
        Self {
            name: DEFAULT_LISTENER.into(),
            ports: Vec::new(),
            trusted: Networks::default(),
            untrusted: Untrusted::Bypass,
            versions: Versions { v1: true, v2: true },
            unknown: Unknown::Accept,
            hand_off: HandOffChoice::Auto,
            header_timeout: DEFAULT_HEADER_TIMEOUT,
            allow: Networks::default(),
            deny: Networks::default(),
            denied: Denied::default(),
            mark: DEFAULT_MARK,
        }
    }
}

impl Default for Interface {
    fn default() -> Self {
        Self { name: DEFAULT_INTERFACE.into(), netns: Netns::Host }
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
            max_flows: DEFAULT_MAX_FLOWS,
            max_translated: DEFAULT_MAX_TRANSLATED,
            handshake_timeout: Duration::from_nanos(EPOCH_NS),
        }
    }
}

/// The items in their order, without repetitions.
pub(crate) fn distinct<T: Clone + Eq + Hash>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = HashSet::new();
    items.into_iter().filter(|item| seen.insert(item.clone())).collect()
}
