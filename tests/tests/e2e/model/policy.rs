//! What the configuration and the commands say of a connection. It is too simple to be wrong: the network with the longest
//! prefix counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use proxyip_api::acl::Verdict;

/// Networks of a list, or of a file.
pub(super) type Networks = BTreeSet<IpNet>;

/// A list of a listener or a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    /// In the configuration file.
    pub(super) written: Networks,
    /// In a file of its own, if it has one: what was in it when it was last right.
    pub(super) file: Option<Networks>,
}

impl List {
    pub(super) fn all(&self) -> Networks {
        self.written.iter().chain(self.file.iter().flatten()).copied().collect()
    }

    /// An empty list in the configuration file is none.
    fn is_given(&self) -> bool {
        !self.written.is_empty() || self.file.is_some()
    }
}

/// What happens to sources that are not trusted, and to clients that may not connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// `bypass` of sources, `mark` of clients.
    Pass,
    Reset,
    Drop,
}

/// What happens to headers without a client, and, apart from the first, to connections without a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nobody {
    Accept,
    Reset,
    Local,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) name: &'static str,
    pub(super) ports: BTreeSet<u16>,
    pub(super) trusted: List,
    pub(super) allow: List,
    pub(super) deny: List,
    pub(super) untrusted: Treatment,
    pub(super) denied: Treatment,
    /// Of the packets of denied clients that pass.
    pub(super) mark: u32,
    pub(super) unknown: Nobody,
    pub(super) headerless: Nobody,
    pub(super) versions: Vec<&'static str>,
    pub(super) hand_off: &'static str,
}

impl Listener {
    /// The list with this name.
    pub(super) fn list(&mut self, kind: &str) -> &mut List {
        match kind {
            "trusted" => &mut self.trusted,
            "allow" => &mut self.allow,
            "deny" => &mut self.deny,
            other => panic!("a list {other:?}"),
        }
    }
}

/// What commands have said. It outlasts agents, and the absence of the listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Commands {
    pub(super) rules: BTreeMap<(&'static str, IpNet), Verdict>,
    /// Whole listeners, and single ports of listeners.
    pub(super) drained: BTreeSet<(&'static str, Option<u16>)>,
}

/// All that decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) listeners: Vec<Listener>,
    pub(super) sets: BTreeMap<&'static str, List>,
    pub(super) commands: Commands,
}

/// What a connection brings first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    None,
    /// Of this version, for this client.
    Client(&'static str, IpAddr),
    /// PROXY UNKNOWN.
    Unknown,
    /// Version 2 LOCAL.
    Local,
}

impl Header {
    const fn version(self) -> &'static str {
        match self {
            Self::Client(version, _) => version,
            Self::Unknown => "v1",
            Self::None | Self::Local => "v2",
        }
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Reset,
    /// There is no answer.
    Silence,
    /// The application has it, knows the source for its peer, and reads the header too.
    Untouched,
    /// The application has it, and reads no header. Its peer is the source.
    OfSource,
    /// The same, and its peer is the client.
    Of(IpAddr),
}

/// How a connection ends, and the mark of its packets; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) outcome: Outcome,
    pub(super) mark: u32,
}

impl From<Outcome> for Seen {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, mark: 0 }
    }
}

impl Outcome {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Reset => "connections that were reset",
            Self::Silence => "connections that were not answered",
            Self::Untouched => "connections with their header in place",
            Self::OfSource => "connections whose source is shown",
            Self::Of(_) => "connections whose client is shown",
        }
    }
}

impl Policy {
    pub(super) fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|one| one.name == name)
    }

    pub(super) fn guarding(&self, port: u16) -> Option<&Listener> {
        self.listeners.iter().find(|one| one.ports.contains(&port))
    }

    pub(super) fn is_drained(&self, listener: &Listener, port: u16) -> bool {
        let drained = |port| self.commands.drained.contains(&(listener.name, port));
        drained(None) || drained(Some(port))
    }

    pub(super) fn rules_of(&self, name: &str) -> BTreeMap<IpNet, Verdict> {
        let of_listener = self.commands.rules.iter().filter(|((of, _), _)| *of == name);
        of_listener.map(|((_, network), verdict)| (*network, *verdict)).collect()
    }

    /// The rules of a listener: those of commands go before the others.
    pub(super) fn rules(&self, listener: &Listener) -> BTreeMap<IpNet, Verdict> {
        let allow = listener.allow.all().into_iter().map(|network| (network, Verdict::Allow));
        let deny = listener.deny.all().into_iter().map(|network| (network, Verdict::Deny));
        allow.chain(deny).chain(self.rules_of(listener.name)).collect()
    }

    /// The rules of the listener with this name, each with whether a command has made it.
    pub(super) fn listed(&self, name: &str) -> BTreeMap<IpNet, (Verdict, bool)> {
        let commands = self.rules_of(name);
        let rules = match self.listener(name) {
            Some(listener) => self.rules(listener),
            None => commands.clone(),
        };
        let rule = |(network, verdict)| (network, (verdict, commands.contains_key(&network)));
        rules.into_iter().map(rule).collect()
    }

    pub(super) fn verdict(&self, listener: &Listener, client: IpAddr) -> Verdict {
        let otherwise = if listener.allow.is_given() { Verdict::Deny } else { Verdict::Allow };
        longest(self.rules(listener), client).unwrap_or(otherwise)
    }

    /// What a connection to this port gets.
    pub(super) fn seen(&self, port: u16, source: SocketAddr, header: Header) -> Seen {
        match self.guarding(port) {
            Some(listener) => self.seen_at(listener, port, (source.ip(), header)),
            None => Outcome::Untouched.into(),
        }
    }

    /// The same if this listener guards the port.
    pub(super) fn seen_at(
        &self,
        listener: &Listener,
        port: u16,
        (source, header): (IpAddr, Header),
    ) -> Seen {
        let trusted = listener.trusted.all().into_iter().map(|network| (network, ()));
        if longest(trusted, source).is_none() {
            return treated(listener.untrusted, Outcome::Untouched.into());
        }
        if self.is_drained(listener, port) {
            return Outcome::Reset.into();
        }
        let shown = |outcome| {
            Seen::from(if listener.hand_off == "observe" { Outcome::Untouched } else { outcome })
        };
        let judged = |outcome, verdict| match verdict {
            Verdict::Allow => shown(outcome),
            Verdict::Deny => {
                treated(listener.denied, Seen { mark: listener.mark, ..shown(outcome) })
            }
        };
        match header {
            Header::None if listener.headerless == Nobody::Local => Outcome::Untouched.into(),
            Header::None => Outcome::Reset.into(),
            _ if !listener.versions.contains(&header.version()) => Outcome::Reset.into(),
            Header::Local => shown(Outcome::OfSource),
            Header::Unknown => match listener.unknown {
                Nobody::Reset => Outcome::Reset.into(),
                Nobody::Accept if listener.allow.is_given() => {
                    judged(Outcome::OfSource, Verdict::Deny)
                }
                Nobody::Accept | Nobody::Local => shown(Outcome::OfSource),
            },
            Header::Client(_, client) => {
                let client = client.to_canonical();
                judged(Outcome::Of(client), self.verdict(listener, client))
            }
        }
    }
}

fn treated(treatment: Treatment, passed: Seen) -> Seen {
    match treatment {
        Treatment::Pass => passed,
        Treatment::Reset => Outcome::Reset.into(),
        Treatment::Drop => Outcome::Silence.into(),
    }
}

/// What belongs to the network with the longest prefix that contains the address.
fn longest<T>(networks: impl IntoIterator<Item = (IpNet, T)>, address: IpAddr) -> Option<T> {
    let containing = networks.into_iter().filter(|(network, _)| network.contains(&address));
    containing.max_by_key(|(network, _)| network.prefix_len()).map(|(_, what)| what)
}
