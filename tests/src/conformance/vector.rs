//! One thing that a load balancer, or somebody else, may send first, and what must come of it.

use proxyip_common::counter::DropReason;
use proxyip_common::flow::Origin;

use super::topic::Topic;
use super::verdict::{Named, Outcome, Verdict};

/// The client in most headers.
pub(super) const CLIENT: &str = "198.51.100.7:51234";
/// The client in most IPv6 headers.
pub(super) const CLIENT6: &str = "[2001:db8:5::7]:51234";
/// What follows the header. Every judge that is a server answers it with the client's name.
pub(super) const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

/// What proxyip must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// This client.
    Client(&'static str),
    /// The load balancer speaks for itself.
    Local,
    /// No client is named.
    Unknown,
    /// The bytes are the beginning of a header.
    Incomplete,
    /// The header is refused for this reason.
    Refused(DropReason),
}

impl Expected {
    /// The outcome that a test must see.
    pub(super) fn outcome(self) -> Outcome {
        let (verdict, label) = match self {
            Self::Client(client) => {
                (Verdict::Accepted(Named::Client(client.to_owned())), Origin::Proxied.label())
            }
            Self::Local => (Verdict::Accepted(Named::Peer), Origin::Local.label()),
            Self::Unknown => (Verdict::Accepted(Named::Peer), Origin::Unknown.label()),
            Self::Incomplete => (Verdict::Waits, DropReason::HeaderIncomplete.label()),
            Self::Refused(reason) => (Verdict::Refused, reason.label()),
        };
        Outcome { verdict, label: label.to_owned() }
    }
}

/// A case.
#[derive(Clone, Debug)]
pub(super) struct Vector {
    /// What it is.
    pub(super) name: String,
    /// The section of the specification that decides.
    pub(super) section: &'static str,
    /// The header, whole or not.
    pub(super) header: Vec<u8>,
    /// What is sent behind it in the same segment: a request, or nothing if more of the header must come.
    pub(super) rest: Vec<u8>,
    /// What must come of it.
    pub(super) expected: Expected,
    /// Why others may see it differently.
    pub(super) topic: Option<Topic>,
}

impl Vector {
    /// A case with a request behind the header, unless that is incomplete.
    pub(super) fn new(
        name: impl Into<String>,
        section: &'static str,
        header: impl Into<Vec<u8>>,
        expected: Expected,
    ) -> Self {
        let rest = if expected == Expected::Incomplete { Vec::new() } else { REQUEST.to_vec() };
        let (name, header) = (name.into(), header.into());
        Self { name, section, header, rest, expected, topic: None }
    }

    /// With something else behind the header.
    pub(super) fn followed_by(mut self, rest: &[u8]) -> Self {
        self.rest = rest.to_vec();
        self
    }

    /// All bytes, as they are sent.
    pub(super) fn bytes(&self) -> Vec<u8> {
        [self.header.as_slice(), &self.rest].concat()
    }

    /// Whether what follows the header is not what an HTTP server answers with a client's name.
    pub(super) fn has_no_request(&self) -> bool {
        self.rest != REQUEST
    }
}

/// Gives all of them this topic.
pub(super) fn about(topic: Topic, vectors: Vec<Vector>) -> Vec<Vector> {
    let of_topic = |vector| Vector { topic: Some(topic), ..vector };
    vectors.into_iter().map(of_topic).collect()
}
