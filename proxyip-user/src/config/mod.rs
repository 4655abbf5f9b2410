//! The configuration: what to guard, where, and how.
//!
//! It comes from a TOML file ([`Config::from_file`]) or from command-line flags
//! ([`Config::from_arguments`]). Either way the result is complete and checked: the rest of the agent
//! need not look for contradictions.

mod file;
mod problem;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use proxyip_common::cookie::EPOCH_NS;
pub use proxyip_common::settings::{HandOffChoice, Untrusted};

pub use self::problem::{ConfigError, Fault, Problem};
pub use self::value::{PortRange, interface_name, network};

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
/// How long a header that has begun may take.
const DEFAULT_HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The interfaces to attach to; at least one.
    pub interfaces: Vec<Interface>,
    /// The listeners; at least one, names and ports are unique. A flow's record holds the index.
    pub listeners: Vec<Listener>,
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
    /// The one that the agent was started in.
    Host,
    /// The one that this file stands for, such as `/run/netns/blue`.
    Path(PathBuf),
}

/// `[[listener]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name in logs and the API.
    pub name: String,
    /// The guarded ports, ascending, each once.
    pub ports: Vec<u16>,
    /// Sources whose connections start with a PROXY header. An IPv6 network never includes IPv4 sources.
    pub trusted: Vec<IpNet>,
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

/// `[api]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Path of the Unix socket.
    pub socket: PathBuf,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The flow log's format.
    pub flows: FlowFormat,
    /// The file that the flow log is appended to; `None` is standard output.
    pub path: Option<PathBuf>,
}

/// Format of the flow log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowFormat {
    /// A JSON object per line.
    Json,
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
    /// Reads a TOML file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::from_toml(&text)
            .map_err(|problems| ConfigError::Wrong { path: path.to_owned(), problems })
    }

    /// Reads the text of a TOML file.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the lines.
    pub fn from_toml(text: &str) -> Result<Self, Vec<Problem>> {
        file::read(text)
    }

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
                trusted: distinct(trusted),
                ..Listener::default()
            }],
            api: Api::default(),
            log: Log::default(),
            agent: Agent::default(),
        }
    }

    /// Settings that are allowed but probably a mistake; a sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let everyone = |network: &&IpNet| network.prefix_len() == 0;
        let mut warnings = Vec::new();
        for listener in &self.listeners {
            for network in listener.trusted.iter().filter(everyone) {
                warnings.push(format!(
                    "listener {:?} trusts {network}: anyone who reaches its ports can claim any client \
                     address",
                    listener.name
                ));
            }
        }
        warnings
    }
}

/// Everything at its default; `ports` and `trusted`, which have none, are empty.
impl Default for Listener {
    fn default() -> Self {
        Self {
            name: DEFAULT_LISTENER.into(),
            ports: Vec::new(),
            trusted: Vec::new(),
            untrusted: Untrusted::Bypass,
            versions: Versions { v1: true, v2: true },
            unknown: Unknown::Accept,
            hand_off: HandOffChoice::Auto,
            header_timeout: DEFAULT_HEADER_TIMEOUT,
        }
    }
}

impl Default for Interface {
    fn default() -> Self {
        Self { name: DEFAULT_INTERFACE.into(), netns: Netns::Host }
    }
}

impl Default for Api {
    fn default() -> Self {
        Self { socket: DEFAULT_SOCKET.into() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { flows: FlowFormat::Json, path: None }
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
pub(crate) fn distinct<T: PartialEq>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut kept = Vec::new();
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}
