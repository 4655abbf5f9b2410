//! The sockets that the agent answers on.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, SockRef, Socket, Type};

use super::unix_socket::UnixSocket;
use crate::config::{Access, Api};

/// As the standard library's listeners have it.
const BACKLOG: i32 = 128;

/// Bound; the files of the Unix sockets go with them. Nobody answers yet.
#[derive(Debug)]
pub struct Sockets {
    pub(super) lookup: UnixSocket,
    /// Dropped behind the other one, whose directory it may have made.
    pub(super) api: UnixSocket,
    pub(super) http: Option<TcpListener>,
    pub(super) http_remote: bool,
}

impl Sockets {
    /// Binds all.
    ///
    /// # Errors
    /// If one of them cannot be bound, or another agent answers there.
    pub fn bind(api: &Api) -> Result<Self> {
        check(api)?;
        Ok(Self {
            http: api.http.map(|address| bind_tcp(address, None)).transpose()?,
            http_remote: api.http_remote,
            api: UnixSocket::bind(&api.socket, api.socket_access)?,
            lookup: bind_lookup(&api.lookup_path(), api.lookup_access)?,
        })
    }
}

/// Makes sure that the Unix sockets are two.
pub(crate) fn check(api: &Api) -> Result<()> {
    let socket = &api.socket;
    let distinct = *socket != api.lookup_path();
    ensure!(distinct, "{}: the lookup socket must be another one", socket.display());
    Ok(())
}

pub(crate) fn bind_lookup(path: &Path, access: Access) -> Result<UnixSocket> {
    let socket = UnixSocket::bind(path, access);
    socket.context("the lookup socket, which [api] lookup_socket names")
}

/// Binds the TCP address. `held` is the agent's own listener that this one is going to replace.
pub(crate) fn bind_tcp(address: SocketAddr, held: Option<&TcpListener>) -> Result<TcpListener> {
    let bound = match (TcpListener::bind(address), held) {
        (Err(error), Some(held)) if error.kind() == ErrorKind::AddrInUse => beside(address, held),
        (bound, _) => bound,
    };
    let listener = bound.with_context(|| format!("cannot bind the API's TCP address {address}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Binds an address that overlaps with the one of the agent's own listener: `0.0.0.0:9811` beside `127.0.0.1:9811`. The
/// kernel lets sockets share a port if all of them allow it at that moment.
fn beside(address: SocketAddr, held: &TcpListener) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    let held = SockRef::from(held);
    let share = |is_shared| held.set_reuse_port(is_shared).and(socket.set_reuse_port(is_shared));
    share(true)?;
    let bound = socket.bind(&address.into()).and_then(|()| socket.listen(BACKLOG));
    // Otherwise another program of this user could take a part of the connections.
    share(false)?;
    bound.map(|()| socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_or_narrower_address_is_bound_beside_the_own_one_and_another_program_s_is_not() {
        for (one, other) in
            [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "[::]")]
        {
            let held = bind_tcp(format!("{one}:0").parse().unwrap(), None).unwrap();
            let port = held.local_addr().unwrap().port();
            let address = format!("{other}:{port}").parse().unwrap();
            let error = bind_tcp(address, None).unwrap_err();
            let sentence = format!("cannot bind the API's TCP address {address}: ");
            assert!(format!("{error:#}").starts_with(&sentence), "{error:#}");
            let elsewhere = bind_tcp("127.0.0.1:0".parse().unwrap(), None).unwrap();
            bind_tcp(address, Some(&elsewhere)).expect_err("it is not the own one's");
            let both = bind_tcp(address, Some(&held)).unwrap();
            drop(held);
            assert_eq!(both.local_addr().unwrap().port(), port);
            bind_tcp(address, None).expect_err("it is in use");
        }
    }
}
