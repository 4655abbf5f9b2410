//! `[api]`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use nix::unistd::Gid;

/// Where the agent answers.
pub const DEFAULT_SOCKET: &str = "/run/proxyip/api.sock";
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
