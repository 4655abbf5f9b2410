//! `[api]`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group};

use super::DEFAULT_SOCKET;
use super::problem::Fault;
use super::table::{Report, Table};

/// Owner and group may connect.
const DEFAULT_MODE: u32 = 0o660;
/// Name of the lookup socket, beside the API's.
const LOOKUP_SOCKET: &str = "lookup.sock";

/// `[api]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Path of the Unix socket for HTTP.
    pub socket: PathBuf,
    /// Who may connect there.
    pub socket_access: Access,
    /// Path of the Unix socket for the line protocol; `None` is beside `socket`.
    pub lookup_socket: Option<PathBuf>,
    /// Who may connect there.
    pub lookup_access: Access,
    /// The TCP address for HTTP that only reads.
    pub http: Option<SocketAddr>,
    /// `http` need not be a loopback address.
    pub http_remote: bool,
    /// Whether the kernel programs answer `getsockopt()` with level 0x5050.
    pub getsockopt: bool,
}

/// Who may connect to a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permissions of the socket, at most `0o777`.
    pub mode: u32,
    /// Its group; `None` is the agent's.
    pub group: Option<Gid>,
}

impl Default for Access {
    fn default() -> Self {
        Self { mode: DEFAULT_MODE, group: None }
    }
}

impl Default for Api {
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

impl Api {
    /// Path of the Unix socket for the line protocol.
    #[must_use]
    pub fn lookup_path(&self) -> PathBuf {
        let beside = || self.socket.parent().unwrap_or(Path::new("/")).join(LOOKUP_SOCKET);
        self.lookup_socket.clone().unwrap_or_else(beside)
    }
}

pub(super) fn read(report: &mut Report, table: Table) -> Api {
    let known = [
        "socket",
        "socket_mode",
        "socket_group",
        "lookup_socket",
        "lookup_socket_mode",
        "lookup_socket_group",
        "http",
        "http_remote",
        "getsockopt",
    ];
    table.check_keys(report, &known, &[]);
    let mut access = |mode, group| Access {
        mode: table.parsed(report, mode, octal).unwrap_or(DEFAULT_MODE),
        group: table.parsed(report, group, group_id),
    };
    let socket_access = access("socket_mode", "socket_group");
    let lookup_access = access("lookup_socket_mode", "lookup_socket_group");
    let api = Api {
        socket: table.absolute_path(report, "socket").unwrap_or(DEFAULT_SOCKET.into()),
        socket_access,
        lookup_socket: table.absolute_path(report, "lookup_socket"),
        lookup_access,
        http: table.parsed(report, "http", address),
        http_remote: table.flag(report, "http_remote").unwrap_or(false),
        getsockopt: table.flag(report, "getsockopt").unwrap_or(false),
    };
    if api.http.is_some_and(|http| !http.ip().is_loopback()) && !api.http_remote {
        report.add(table.offset_of("http"), table.path("http"), Fault::NotLoopback);
    }
    if api.lookup_path() == api.socket {
        let fault = Fault::SameSocket;
        report.add(table.offset_of("lookup_socket"), table.path("lookup_socket"), fault);
    }
    api
}

fn octal(text: &str) -> Result<u32, Fault> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o777);
    mode.ok_or_else(|| Fault::NotAMode(text.into()))
}

/// By name or number.
fn group_id(text: &str) -> Result<Gid, Fault> {
    // The last one means "leave it as it is" (chown(2)).
    if let Some(number) = text.parse().ok().filter(|number| *number != u32::MAX) {
        return Ok(Gid::from_raw(number));
    }
    let group = Group::from_name(text).ok().flatten();
    group.map(|group| group.gid).ok_or_else(|| Fault::NoSuchGroup(text.into()))
}

fn address(text: &str) -> Result<SocketAddr, Fault> {
    text.parse().map_err(|_| Fault::NotAnEndpoint(text.into()))
}
