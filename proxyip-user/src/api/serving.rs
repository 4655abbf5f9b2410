//! Answers on sockets, which a reload can exchange.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use axum::middleware;

use super::leaving::{Endpoint, Failures, Tell, failures};
use super::router::{of_now, router};
use super::sockets::{self, Sockets};
use super::state::Shared;
use super::unix_socket::{AccessChange, UnixSocket};
use super::{browsers, lines, server};
use crate::config::Api;

/// Answers until every handle is dropped.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    start: Start,
    live: Mutex<Live>,
}

/// What it takes to answer somewhere.
struct Start {
    shared: Shared,
    tell: Tell,
}

/// Where the agent answers.
struct Live {
    api: Endpoint<UnixSocket>,
    lookup: Endpoint<UnixSocket>,
    http: Option<Endpoint<TcpListener>>,
}

/// Other places to answer, where somebody answers already. [`Server::exchange`] gives up the places before them; dropping
/// this gives up these.
pub struct NextApi {
    lookup: Option<Endpoint<UnixSocket>>,
    /// Dropped behind the other one, whose directory it may have made.
    api: Option<Endpoint<UnixSocket>>,
    http: NextHttp,
    access: Vec<AccessChange>,
}

/// What becomes the TCP address.
enum NextHttp {
    /// It stays as it is.
    Same,
    Absent,
    At(Endpoint<TcpListener>),
}

impl Live {
    /// It is in force.
    fn settle(&self) {
        self.api.listener.settle();
        self.lookup.listener.settle();
    }
}

impl Sockets {
    /// Answers on the sockets from now on. To be called in a runtime.
    ///
    /// # Errors
    /// If the sockets cannot be used.
    pub fn serve(self, shared: Shared) -> Result<(Server, Failures)> {
        let (tell, failures) = failures();
        let start = Start { shared, tell };
        let Self { lookup, api, http, http_remote } = self;
        let http = http.map(|listener| start.http(listener, http_remote));
        let live =
            Live { api: start.api(api)?, lookup: start.lookup(lookup)?, http: http.transpose()? };
        live.settle();
        Ok((Server(Arc::new(Inner { start, live: Mutex::new(live) })), failures))
    }
}

impl Server {
    /// Binds what `new` has and `old`, which is in force, has not. To be called in a runtime.
    ///
    /// # Errors
    /// If an address or a path is in use, or permissions cannot be changed. Then everything is as before.
    pub fn prepare(&self, old: &Api, new: &Api) -> Result<NextApi> {
        sockets::check(new)?;
        let lookup_path = new.lookup_path();
        for (path, other) in [(&new.socket, &old.lookup_path()), (&lookup_path, &old.socket)] {
            ensure!(
                path != other,
                "cannot bind the socket {}: it is the agent's other socket until the reload; take another path, or reload twice",
                path.display()
            );
        }
        let Inner { start, live } = &*self.0;
        let live = lock(live);
        let mut access = Vec::new();
        let api = if live.api.listener.is_at(&new.socket) {
            if old.socket_access != new.socket_access {
                access.push(live.api.listener.change(new.socket_access)?);
            }
            None
        } else {
            Some(start.api(UnixSocket::bind(&new.socket, new.socket_access)?)?)
        };
        let lookup = if live.lookup.listener.is_at(&lookup_path) {
            if old.lookup_access != new.lookup_access {
                access.push(live.lookup.listener.change(new.lookup_access)?);
            }
            None
        } else {
            Some(start.lookup(sockets::bind_lookup(&lookup_path, new.lookup_access)?)?)
        };
        Ok(NextApi { api, lookup, http: start.next_http(&live, old, new)?, access })
    }

    /// Answers in other places.
    pub fn exchange(&self, next: NextApi) {
        let NextApi { api, lookup, http, access } = next;
        let mut live = lock(&self.0.live);
        if let Some(api) = api {
            live.api = api;
        }
        if let Some(lookup) = lookup {
            live.lookup = lookup;
        }
        match http {
            NextHttp::Same => {}
            NextHttp::Absent => live.http = None,
            NextHttp::At(endpoint) => live.http = Some(endpoint),
        }
        live.settle();
        access.into_iter().for_each(AccessChange::keep);
    }
}

impl Start {
    fn api(&self, socket: UnixSocket) -> Result<Endpoint<UnixSocket>> {
        let listener = tokio::net::UnixListener::from_std(socket.try_clone()?)?;
        let router = router(self.shared.clone()).layer(middleware::map_response(of_now));
        let (endpoint, duty) = Endpoint::new(socket, "the API's socket", &self.tell);
        tokio::spawn(server::serve_unix(listener, router, duty));
        Ok(endpoint)
    }

    fn lookup(&self, socket: UnixSocket) -> Result<Endpoint<UnixSocket>> {
        let listener = socket.try_clone()?;
        let (endpoint, duty) = Endpoint::new(socket, "the lookup socket", &self.tell);
        lines::serve(listener, Arc::clone(&self.shared.source), duty)?;
        Ok(endpoint)
    }

    fn http(&self, listener: TcpListener, http_remote: bool) -> Result<Endpoint<TcpListener>> {
        let handle = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
        let mut remote = router(self.shared.apart());
        if browsers::must_name_this_host(http_remote, listener.local_addr()?.ip()) {
            remote = remote.layer(middleware::from_fn(server::refuse_other_names));
        }
        let remote = remote.layer(middleware::from_fn(browsers::refuse_other_sites));
        let remote = remote.layer(middleware::map_response(of_now));
        let (endpoint, duty) = Endpoint::new(listener, "the API's TCP address", &self.tell);
        tokio::spawn(server::serve_tcp(handle, remote, duty));
        Ok(endpoint)
    }

    fn next_http(&self, live: &Live, old: &Api, new: &Api) -> Result<NextHttp> {
        if (old.http, old.http_remote) == (new.http, new.http_remote) {
            return Ok(NextHttp::Same);
        }
        let Some(address) = new.http else { return Ok(NextHttp::Absent) };
        let held = live.http.as_ref().map(|endpoint| &endpoint.listener);
        let listener = match held {
            // The same address with other rules.
            Some(held) if old.http == new.http => held.try_clone()?,
            _ => sockets::bind_tcp(address, held)?,
        };
        Ok(NextHttp::At(self.http(listener, new.http_remote)?))
    }
}

fn lock(live: &Mutex<Live>) -> MutexGuard<'_, Live> {
    // A panic in between leaves each endpoint whole.
    live.lock().unwrap_or_else(PoisonError::into_inner)
}
