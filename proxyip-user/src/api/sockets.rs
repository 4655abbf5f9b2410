//! The sockets that the agent answers on.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use anyhow::{Context, Result, ensure};

use super::unix_socket::UnixSocket;
use crate::config::Api;

/// Bound; the files of the Unix sockets go with them.
#[derive(Debug)]
pub struct Sockets {
    lookup: UnixSocket,
    /// Dropped behind the other one, whose directory it may have made.
    api: UnixSocket,
    http: Option<TcpListener>,
    pub(crate) http_remote: bool,
}

impl Sockets {
    /// Binds all.
    ///
    /// # Errors
    /// If one of them cannot be bound, or another agent answers there.
    pub fn bind(api: &Api) -> Result<Self> {
        let (socket, lookup) = (&api.socket, api.lookup_path());
        ensure!(*socket != lookup, "{}: the lookup socket must be another one", socket.display());
        let http = api.http.map(|address| {
            let listener = TcpListener::bind(address)
                .with_context(|| format!("cannot bind the API's TCP address {address}"))?;
            listener.set_nonblocking(true)?;
            anyhow::Ok(listener)
        });
        Ok(Self {
            api: UnixSocket::bind(&api.socket, api.socket_access)?,
            lookup: UnixSocket::bind(&lookup, api.lookup_access)
                .context("the lookup socket, which [api] lookup_socket names")?,
            http: http.transpose()?,
            http_remote: api.http_remote,
        })
    }

    /// For tokio: call this and [`Self::http`] in its runtime.
    pub(crate) fn api(&self) -> Result<tokio::net::UnixListener> {
        self.api.listener()
    }

    /// For a separate runtime.
    pub(crate) fn lookup(&self) -> Result<UnixListener> {
        self.lookup.try_clone()
    }

    pub(crate) fn http(&self) -> Result<Option<tokio::net::TcpListener>> {
        let listener = |http: &TcpListener| tokio::net::TcpListener::from_std(http.try_clone()?);
        Ok(self.http.as_ref().map(listener).transpose()?)
    }
}
