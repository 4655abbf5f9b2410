//! Who may connect, as the API and the command line speak of it.

use std::net::IpAddr;

use ipnet::IpNet;
use proxyip_api::acl::{Decision, Disconnected, Rules, Verdict};

use crate::desired::rules::Part;

/// Why a question cannot be answered or a change not be made. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum AclError {
    /// There is no listener with this name.
    #[error("there is no listener {name:?}; there are {}", .known.join(", "))]
    NoListener {
        /// The name that was given.
        name: String,
        /// The names of all listeners.
        known: Vec<String>,
    },
    /// The rule to remove does not exist.
    #[error("listener {listener:?} has no rule for {network}")]
    NoRule {
        /// The listener.
        listener: String,
        /// The network.
        network: IpNet,
    },
    /// No command has made this rule.
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
    /// Makes a rule. If a command has already made one for this network, changes it.
    fn set(&self, listener: &str, network: IpNet, verdict: Verdict) -> Result<(), AclError>;
    /// Removes a rule that a command has made.
    fn remove(&self, listener: &str, network: IpNet) -> Result<(), AclError>;
    /// The kernel's verdict on a client.
    fn test(&self, listener: &str, client: IpAddr) -> Result<Decision, AclError>;
    /// Ends the established connections of denied clients, for one listener or all.
    fn disconnect(&self, listener: Option<&str>) -> Result<Vec<Disconnected>, AclError>;
}
