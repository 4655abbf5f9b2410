//! Accepts connections and serves HTTP on them. Their number, size and time are bounded, also against a hostile peer.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::unistd::geteuid;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use super::answer::BUFFER;
use super::failure::fail;
use super::leaving::{Duty, Leaving};
use super::listen::{GRACE, STALL, accept};
use crate::api::limits::descriptors::{self, HTTP_CONNECTIONS};
use crate::api::limits::room::{Place, Room};

/// How long a request's head may take, and how long a connection may be silent between two.
const HEAD: Duration = Duration::from_secs(30);
/// How old a connection becomes: it is closed behind the answer that is under way then.
const LIFETIME: Duration = Duration::from_mins(2);

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Root or the agent's own user, over the Unix socket: may change rules.
    Owner,
    /// Anybody else who can open the Unix socket.
    Other,
    /// Whoever reaches the TCP address.
    Remote,
}

/// A connection, apart from its bytes.
struct Guest {
    caller: Caller,
    place: Place,
    leaving: Leaving,
}

/// Serves HTTP on a Unix socket.
pub(crate) async fn serve_unix(listener: UnixListener, router: Router, duty: Duty) {
    let room = Room::new(descriptors::share(HTTP_CONNECTIONS));
    let socket = &listener;
    let next = || async move { Ok(socket.accept().await?.0) };
    let welcome = |stream: UnixStream| {
        let (caller, place) = (caller(&stream), room.enter());
        let guest = Guest { caller, place, leaving: duty.leaving() };
        tokio::spawn(converse(stream, guest, router.clone()));
    };
    accept(&duty, next, welcome).await;
}

/// Serves HTTP on a TCP address.
pub(crate) async fn serve_tcp(listener: TcpListener, router: Router, duty: Duty) {
    let room = Room::new(descriptors::share(HTTP_CONNECTIONS));
    let next = || listener.accept();
    let welcome = |(stream, _): (_, SocketAddr)| {
        let guest = Guest { caller: Caller::Remote, place: room.enter(), leaving: duty.leaving() };
        tokio::spawn(converse(stream, guest, router.clone()));
    };
    accept(&duty, next, welcome).await;
}

fn caller(stream: &UnixStream) -> Caller {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == 0 || peer.uid() == geteuid().as_raw() => Caller::Owner,
        _ => Caller::Other,
    }
}

/// One connection, to its end.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    guest: Guest,
    router: Router,
) {
    let Guest { caller, place, mut leaving } = guest;
    let place = Arc::new(place);
    let service = TowerToHyperService::new(router);
    let heard = Arc::clone(&place);
    let service = service_fn(move |mut request: Request<Incoming>| {
        heard.hear();
        request.extensions_mut().insert(caller);
        service.call(request)
    });
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(STALL));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        // Who sends nothing more may still want the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut connection = pin!(connection);
    let old_enough = async {
        tokio::select! {
            () = sleep(LIFETIME) => {}
            () = leaving.begun() => {}
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = place.is_needed() => return tracing::debug!("an API connection has made room for another"),
        () = old_enough => {
            connection.as_mut().graceful_shutdown();
            match timeout(GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return tracing::debug!("an API connection has taken too long"),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!("an API connection has ended: {error}");
    }
}

/// Refuses requests for names other than `localhost` and addresses. Otherwise a web site could make its name resolve
/// to a loopback address, and have a browser ask the agent ([DNS
/// rebinding](https://en.wikipedia.org/wiki/DNS_rebinding)).
pub(crate) async fn refuse_other_names(request: axum::extract::Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    // A request's target may name a host too, which goes before the header.
    if host.as_ref().is_some_and(is_here)
        && hosts.next().is_none()
        && request.uri().authority().is_none_or(is_here)
    {
        return next.run(request).await;
    }
    let sentence = "only requests for localhost or an address are answered here";
    fail(StatusCode::FORBIDDEN, sentence).into_response()
}

fn is_here(authority: &Authority) -> bool {
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}
