//! Who may connect, as the API and the command line speak of it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The verdict on a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It may connect.
    Allow,
    /// It may not: the listener's `denied` says what happens.
    Deny,
}

impl Verdict {
    /// As commands and the API have it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// Where a rule comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", tag = "from")]
pub enum Origin {
    /// `allow` or `deny` in the configuration file.
    Configuration,
    /// `allow_file` or `deny_file`.
    File {
        /// The file.
        #[schema(value_type = String)]
        file: PathBuf,
    },
    /// `proxyip acl`. Goes before the others for the same network, and lasts until it is removed, or the kernel programs are.
    Command,
}

/// The verdict on the clients of a network; of two networks that have a client the smaller one counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rule {
    /// The network.
    #[schema(value_type = String, example = "203.0.113.0/24")]
    pub network: IpNet,
    /// The verdict.
    pub verdict: Verdict,
    /// Where it comes from.
    #[serde(flatten)]
    pub origin: Origin,
}

/// Some rules of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rules {
    /// The listener's name.
    pub listener: String,
    /// The verdict on clients that no network has: `deny`, if the configuration has a list of allowed ones.
    pub otherwise: Verdict,
    /// What happens to denied clients: `reset`, `drop` or `mark`.
    pub denied: String,
    /// The rules, in the order of their networks; of each network the one that counts.
    pub rules: Vec<Rule>,
    /// `cursor` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "203.0.113.0/24")]
    pub next: Option<IpNet>,
}

/// Which rules are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Those of the networks behind this one.
    pub after: Option<IpNet>,
    /// How many at most.
    pub limit: usize,
}

/// The verdict on one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Decision {
    /// The listener's name.
    pub listener: String,
    /// The client.
    #[schema(value_type = String, example = "203.0.113.9")]
    pub client: IpAddr,
    /// The verdict.
    pub verdict: Verdict,
    /// The rule it comes from; none if no network has the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
}

/// An established connection whose client is denied now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Disconnected {
    /// The listener's name.
    pub listener: String,
    /// The client.
    #[schema(value_type = String)]
    pub client: SocketAddr,
    /// The load balancer's end.
    #[schema(value_type = String)]
    pub peer: SocketAddr,
    /// This host's end.
    #[schema(value_type = String)]
    pub local: SocketAddr,
    /// Why it could not be ended; absent if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why a question cannot be answered or a change not be made. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum AclError {
    /// There is no such listener.
    #[error("there is no listener {name:?}; there are {}", .known.join(", "))]
    NoListener {
        /// The name that was given.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// There is no such rule to be removed.
    #[error("listener {listener:?} has no rule for {network}")]
    NoRule {
        /// The listener.
        listener: String,
        /// The network.
        network: IpNet,
    },
    /// The rule is not one that a command has made.
    #[error(
        "the rule of listener {listener:?} for {network} is in {place}: remove it there, or go before it with \
         `proxyip acl allow` or `deny`"
    )]
    NotByCommand {
        /// The listener.
        listener: String,
        /// The network.
        network: IpNet,
        /// `the configuration`, or the path of a file.
        place: String,
    },
    /// The kernel refuses.
    #[error("{0:#}")]
    Kernel(#[from] anyhow::Error),
}

/// What can be asked and changed while the agent runs; every method may block.
#[expect(clippy::missing_errors_doc, reason = "each says why in its error")]
pub trait Acl: Send + Sync + 'static {
    /// Rules of a listener.
    fn rules(&self, listener: &str, part: Part) -> Result<Rules, AclError>;
    /// Makes a rule, or changes the one that a command has made for this network.
    fn set(&self, listener: &str, network: IpNet, verdict: Verdict) -> Result<(), AclError>;
    /// Removes a rule that a command has made.
    fn remove(&self, listener: &str, network: IpNet) -> Result<(), AclError>;
    /// The kernel's verdict on a client.
    fn test(&self, listener: &str, client: IpAddr) -> Result<Decision, AclError>;
    /// Ends the established connections, of one listener or all, whose clients are denied now.
    fn disconnect(&self, listener: Option<&str>) -> Result<Vec<Disconnected>, AclError>;
}
