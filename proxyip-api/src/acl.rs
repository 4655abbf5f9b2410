//! Who may connect.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Connections that one request ends, at most.
pub const MAX_DISCONNECTED: usize = 10_000;

/// Rules on a page of `GET /v1/acl/LISTENER`, at most.
pub const MAX_RULES: u16 = 10_000;

/// The verdict on a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase", tag = "from")]
pub enum Origin {
    /// `allow` or `deny` in the configuration file.
    Configuration,
    /// `allow_file` or `deny_file`.
    File {
        /// The file.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        file: PathBuf,
    },
    /// `proxyip acl`. It takes precedence over the others for the same network. It lasts until you remove it or the
    /// kernel programs.
    Command,
}

/// The verdict on the clients of a network. The longest prefix wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rule {
    /// The network.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "203.0.113.0/24"))]
    pub network: IpNet,
    /// The verdict.
    pub verdict: Verdict,
    /// Where it comes from.
    #[serde(flatten)]
    pub origin: Origin,
}

/// Some rules of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rules {
    /// The listener's name.
    pub listener: String,
    /// The verdict on clients in none of the networks: `deny`, if the configuration has a list of allowed ones.
    pub otherwise: Verdict,
    /// What happens to denied clients: `reset`, `drop` or `mark`.
    pub denied: String,
    /// The configuration does not have the listener: its rules, all made by command, wait for it. Absent if it has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub orphaned: bool,
    /// The rules, in the order of their networks; of each network the one that counts.
    pub rules: Vec<Rule>,
    /// `cursor` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "203.0.113.0/24"))]
    pub next: Option<IpNet>,
}

/// The verdict on one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Decision {
    /// The listener's name.
    pub listener: String,
    /// The client.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "203.0.113.9"))]
    pub client: IpAddr,
    /// The verdict.
    pub verdict: Verdict,
    /// The rule it comes from; none if the client is in no network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
}

/// An established connection whose client is denied now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Disconnected {
    /// The listener's name.
    pub listener: String,
    /// The client.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub client: SocketAddr,
    /// The load balancer's end.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub peer: SocketAddr,
    /// This host's end.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub local: SocketAddr,
    /// Why it could not be ended; absent if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
