//! What a judge says.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The client that an accepted header names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// This client: address and port, or the text that stands for them.
    Client(String),
    /// Nobody: the connection's own peer counts.
    Peer,
    /// It cannot be seen.
    Untold,
}

impl Named {
    /// From an address and a port; IPv4-mapped addresses as IPv4.
    pub(super) fn client(client: SocketAddr) -> Self {
        Self::Client(SocketAddr::new(client.ip().to_canonical(), client.port()).to_string())
    }

    /// From what a server wrote about a connection. `peer` is the connection's real peer.
    pub(super) fn from_words(address: &str, port: &str, peer: SocketAddr) -> Self {
        // Both servers write port 0 as nothing.
        let port = if port.is_empty() { "0" } else { port };
        let ends = address.parse::<IpAddr>().ok().zip(port.parse().ok());
        match ends.map(SocketAddr::from) {
            Some(client) if client == peer => Self::Peer,
            Some(client) => Self::client(client),
            None if address.is_empty() => Self::Peer,
            None => Self::Client(format!("{address} {port}")),
        }
    }
}

/// What a judge does with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Takes the header and reads on behind it.
    Accepted(Named),
    /// Takes a header, but of another length than it has.
    Misread,
    /// Ends the connection.
    Refused,
    /// Waits for more.
    Waits,
}

impl Verdict {
    /// Whether they say the same. An unseen client agrees with every client.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Accepted(Named::Untold), Self::Accepted(_))
            | (Self::Accepted(_), Self::Accepted(Named::Untold)) => true,
            _ => self == other,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Accepted(Named::Client(client)) => write!(formatter, "`{client}`"),
            Self::Accepted(Named::Peer) => formatter.write_str("peer"),
            Self::Accepted(Named::Untold) => formatter.write_str("accepted"),
            Self::Misread => formatter.write_str("misread"),
            Self::Refused => formatter.write_str("refused"),
            Self::Waits => formatter.write_str("waits"),
        }
    }
}

/// What proxyip says: a verdict, and the origin or the reason that its logs name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    pub(super) label: String,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{} ({})", self.verdict, self.label)
    }
}
