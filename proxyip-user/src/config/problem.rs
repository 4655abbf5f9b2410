//! What can be wrong with a configuration, in words that tell the operator what to change.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

/// Why a configuration file was not taken; displays as one line per problem.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The text is wrong, in at least one place.
    #[error("{}", lines(path, problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Each place, and where this host is not as the text says.
        problems: Vec<Problem>,
    },
    /// The text is right, but this host is not as it says.
    #[error("{}", lines(path, problems))]
    Host {
        /// The file.
        path: PathBuf,
        /// Each place.
        problems: Vec<Problem>,
    },
}

fn lines(path: &Path, problems: &[Problem]) -> String {
    let lines: Vec<_> =
        problems.iter().map(|problem| format!("{}:{problem}", path.display())).collect();
    lines.join("\n")
}

/// One thing that is wrong; displays as `LINE: KEY: sentence`.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1.
    pub line: usize,
    /// The key with its table, for example `listener.ports`.
    pub key: String,
    /// What is wrong with it.
    pub fault: Fault,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.line, self.key, self.fault)
    }
}

/// Where a key stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line of the value, or of the table if the key is not there; counted from 1.
    pub line: usize,
    /// The table's name.
    pub table: &'static str,
    /// The key's name.
    pub key: &'static str,
}

impl Place {
    /// What is wrong there.
    #[must_use]
    pub fn problem(self, fault: Fault) -> Problem {
        Problem { line: self.line, key: format!("{}.{}", self.table, self.key), fault }
    }
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub place: Place,
}

/// What can be wrong with a key or its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say it")]
pub enum Fault {
    #[error("this is not TOML: {0}")]
    Syntax(String),
    #[error("no such key; there are {}", .known.join(", "))]
    UnknownKey { known: Vec<&'static str> },
    #[error("not supported by this version")]
    KeyNotSupported,
    #[error("{value:?} is not a pattern: {why}")]
    NotAPattern { value: String, why: String },
    #[error("{0:?} has a wildcard in its directory: write wildcards behind the last slash only")]
    PatternInDirectory(String),
    #[error("must be {expected}, not {found}")]
    WrongType { expected: &'static str, found: &'static str },
    #[error("{value:?} is not one of {}", .choices.join(", "))]
    NotOneOf { value: String, choices: Vec<&'static str> },
    #[error("missing; it has no default")]
    Missing,
    #[error("at least one [[listener]] is needed")]
    NoListener,
    #[error("must name at least one {0}")]
    Empty(&'static str),
    #[error("must be a number from {least} to {most}")]
    OutOfRange { least: u32, most: u32 },
    #[error("must be longer than the header_timeout of listener {0:?}")]
    HandshakeTimeoutTooShort(String),
    #[error("more than {0} are not supported")]
    TooMany(u32),
    #[error("there are more than [agent] max_listeners, which is {0}")]
    TooManyListeners(u32),
    #[error(
        "{0:?} is not a port, which is a number from 1 to 65535, or a range such as \"8000-8010\""
    )]
    NotAPort(String),
    #[error("the range {0:?} ends before it begins")]
    RangeBackwards(String),
    #[error("port {port} is guarded by listener {other:?} already")]
    PortTaken { port: u16, other: String },
    #[error("{0:?} is not a network, such as \"10.0.0.0/16\" or \"fd00::/8\"")]
    NotANetwork(String),
    #[error("{address:?} is an address; write \"{address}/{bits}\" to mean that one alone")]
    AddressWithoutPrefix { address: String, bits: u8 },
    #[error("{value:?} has bits set behind its prefix; the network is \"{network}\"")]
    HostBits { value: String, network: IpNet },
    #[error("{value:?} is IPv4 in IPv6 notation; write \"{network}\"")]
    MappedNetwork { value: String, network: IpNet },
    #[error(
        "{0:?} is not an interface's name, which has 1 to 15 bytes, none of them a space or a slash"
    )]
    NotAnInterface(String),
    #[error("interface {0:?} is named before, in the same namespace")]
    InterfaceTwice(String),
    #[error(
        "{0:?} is neither \"host\" nor the absolute path of a namespace file such as \"/run/netns/blue\""
    )]
    NotANamespace(String),
    #[error("{0:?} is not an absolute path")]
    NotAbsolute(String),
    #[error("{0:?} is not a mode, which has three octal digits, such as \"0660\"")]
    NotAMode(String),
    #[error("there is no group {0:?}")]
    NoSuchGroup(String),
    #[error("{0:?} is not IP:PORT such as \"127.0.0.1:9811\" or \"[::1]:9811\"")]
    NotAnEndpoint(String),
    #[error(
        "not a loopback address: whoever can reach it could ask for every client; if that is meant, write \
         http_remote = true"
    )]
    NotLoopback,
    #[error("remove it, or path: the flow log goes to one of the two")]
    PathAndTo,
    #[error("must be another path than socket")]
    SameSocket,
    #[error("another {what} is named {name:?}; names must differ")]
    NameTaken { what: &'static str, name: String },
    #[error("must have at most {0} bytes")]
    NameTooLong(usize),
    #[error("must not have control characters in it")]
    ControlInName,
    #[error(
        "{0:?} is not a set's name, which has 1 to 32 of the characters A-Z, a-z, 0-9, _ and -"
    )]
    NotASetName(String),
    #[error("missing; write it or {0}")]
    NoList(&'static str),
    #[error(
        "{0:?} has a comma in it; give each network a string of its own, or write one string instead \
         of the list"
    )]
    CommaInItem(String),
    #[error("{0} is allowed too; remove it from one of the lists")]
    AllowedAndDenied(IpNet),
    #[error("{0} would be both allowed and denied; remove it from one of the lists")]
    WouldContradict(IpNet),
    #[error("listener {name:?}: {fault}")]
    OfListener { name: String, fault: Box<Fault> },
    #[error("and {0} more like these")]
    More(usize),
    #[error("only denied = \"mark\" uses it; write that too, or remove this")]
    MarkUnused,
    #[error("{} names no network, so nobody would be trusted", .0.display())]
    NobodyTrusted(PathBuf),
    #[error("{}: {fault}", place(path, *line))]
    InFile { path: PathBuf, line: Option<usize>, fault: Box<Fault> },
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("must have at most {0} MiB")]
    TooLarge(u32),
    #[error("must have at most {0} networks")]
    TooManyNetworks(usize),
}

fn place(path: &Path, line: Option<usize>) -> String {
    let line = line.map(|line| format!(":{line}")).unwrap_or_default();
    format!("{}{line}", path.display())
}
