//! `[api]`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use nix::unistd::Gid;

use super::DEFAULT_SOCKET;
use super::problem::{At, Fault};
use super::schema::api as keys;
use super::table::{Report, Table};

/// Owner and group may connect.
const DEFAULT_MODE: u32 = 0o660;
/// Name of the lookup socket, beside the API's.
const LOOKUP_SOCKET: &str = "lookup.sock";

/// `[api]`; a socket's group is a `G`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api<G = Gid> {
    /// Path of the Unix socket for HTTP.
    pub socket: PathBuf,
    /// Who may connect there.
    pub socket_access: Access<G>,
    /// Path of the Unix socket for the line protocol; `None` is beside `socket`.
    pub lookup_socket: Option<PathBuf>,
    /// Who may connect there.
    pub lookup_access: Access<G>,
    /// The TCP address for HTTP that only reads.
    pub http: Option<SocketAddr>,
    /// `http` need not be a loopback address.
    pub http_remote: bool,
    /// Whether the kernel programs answer `getsockopt()` with level 0x5050.
    pub getsockopt: bool,
}

/// Who may connect to a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access<G = Gid> {
    /// Permissions of the socket, at most `0o777`.
    pub mode: u32,
    /// Its group; `None` is the agent's.
    pub group: Option<G>,
}

/// A group as the text names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupName {
    /// By its number.
    Number(Gid),
    /// By its name in this host's group database.
    Name(String),
}

impl<G> Default for Access<G> {
    fn default() -> Self {
        Self { mode: DEFAULT_MODE, group: None }
    }
}

impl<G> Default for Api<G> {
    fn default() -> Self {
        Self {
            socket: DEFAULT_SOCKET.into(),
            socket_access: Access::default(),
            lookup_socket: None,
            lookup_access: Access::default(),
            http: None,
            http_remote: false,
            getsockopt: false,
        }
    }
}

impl<G> Api<G> {
    /// Path of the Unix socket for the line protocol.
    #[must_use]
    pub fn lookup_path(&self) -> PathBuf {
        let beside = || self.socket.parent().unwrap_or(Path::new("/")).join(LOOKUP_SOCKET);
        self.lookup_socket.clone().unwrap_or_else(beside)
    }
}

pub(super) fn read(report: &mut Report, table: Table) -> Api<At<GroupName>> {
    let socket_access = Access {
        mode: table.parsed(report, &keys::SOCKET_MODE).unwrap_or(DEFAULT_MODE),
        group: table.placed(report, &keys::SOCKET_GROUP),
    };
    let lookup_access = Access {
        mode: table.parsed(report, &keys::LOOKUP_SOCKET_MODE).unwrap_or(DEFAULT_MODE),
        group: table.placed(report, &keys::LOOKUP_SOCKET_GROUP),
    };
    let api = Api {
        socket: table.parsed(report, &keys::SOCKET).unwrap_or(DEFAULT_SOCKET.into()),
        socket_access,
        lookup_socket: table.parsed(report, &keys::LOOKUP_SOCKET),
        lookup_access,
        http: table.parsed(report, &keys::HTTP),
        http_remote: table.flag(report, &keys::HTTP_REMOTE).unwrap_or(false),
        getsockopt: table.flag(report, &keys::GETSOCKOPT).unwrap_or(false),
    };
    if api.http.is_some_and(|http| !http.ip().is_loopback()) && !api.http_remote {
        let key = keys::HTTP.name;
        report.add(table.offset_of(key), table.path(key), Fault::NotLoopback);
    }
    if api.lookup_path() == api.socket {
        let key = keys::LOOKUP_SOCKET.name;
        report.add(table.offset_of(key), table.path(key), Fault::SameSocket);
    }
    api
}

pub(super) fn octal(text: &str) -> Result<u32, Fault> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o777);
    mode.ok_or_else(|| Fault::NotAMode(text.into()))
}

/// By name or number. Whether this host has a group of that name is asked later.
#[expect(clippy::unnecessary_wraps, reason = "the schema's entries want it")]
pub(super) fn group_name(text: &str) -> Result<GroupName, Fault> {
    // The last number means "leave it as it is" (chown(2)).
    let number = text.parse().ok().filter(|number| *number != u32::MAX);
    Ok(number.map_or_else(
        || GroupName::Name(text.into()),
        |number| GroupName::Number(Gid::from_raw(number)),
    ))
}

pub(super) fn address(text: &str) -> Result<SocketAddr, Fault> {
    text.parse().map_err(|_| Fault::NotAnEndpoint(text.into()))
}
