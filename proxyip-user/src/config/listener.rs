//! A listener.

use std::time::Duration;

use proxyip_common::settings::{Denied, HandOffChoice, Untrusted};

use super::networks::Networks;

/// Name of a listener that has none in the configuration, or that comes from flags.
const DEFAULT_LISTENER: &str = "default";
/// The mark of denied connections.
const DEFAULT_MARK: u32 = 0x50;
/// How long a header that has begun may take.
const DEFAULT_HEADER_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// What happens to connections of trusted sources that have no header.
    pub headerless: Headerless,
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
    /// The connection is the load balancer's own: no list of clients applies to it.
    Local,
}

/// `headerless` of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headerless {
    /// The connection is reset.
    Reset,
    /// The connection is the load balancer's own: no list of clients applies to it.
    Local,
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
            headerless: Headerless::Reset,
            hand_off: HandOffChoice::Auto,
            header_timeout: DEFAULT_HEADER_TIMEOUT,
            allow: Networks::default(),
            deny: Networks::default(),
            denied: Denied::default(),
            mark: DEFAULT_MARK,
        }
    }
}
