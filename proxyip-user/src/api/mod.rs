//! What a running agent answers: HTTP/1.1 with JSON on a Unix socket and a TCP address, and the line protocol.

pub mod answer;
mod browsers;
pub mod failure;
pub mod limits;
pub mod lines;
pub mod listen;
pub mod openapi;
pub mod owner;
pub mod page;
pub mod query;
pub mod routes;
pub mod server;
pub mod sockets;
pub mod source;
pub mod state;
#[cfg(test)]
mod tests;
pub mod unix_socket;
pub mod view;

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Result;
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::{Router, middleware};
use utoipa_axum::routes;

use self::failure::{fail, unsupported};
use self::limits::descriptors;
use self::routes::{acl, clients, drain, flows, health, lookup, metrics, reload, status};
pub use self::sockets::Sockets;
pub use self::source::Source;
pub use self::state::{Parts, Shared};

/// Answers on the sockets for ever.
///
/// # Errors
/// If the sockets cannot be used.
pub async fn serve(sockets: &Sockets, shared: Shared) -> Result<Infallible> {
    descriptors::lift_limit();
    let router = router(shared.clone()).layer(middleware::map_response(of_now));
    let lines = lines::serve(sockets.lookup()?, Arc::clone(&shared.source));
    let unix = server::serve_unix(sockets.api()?, router);
    let Some(http) = sockets.http()? else {
        return tokio::select! { ended = lines => ended, never = unix => Ok(never) };
    };
    let mut remote = self::router(shared.apart());
    if browsers::must_name_this_host(sockets.http_remote, http.local_addr()?.ip()) {
        remote = remote.layer(middleware::from_fn(server::refuse_other_names));
    }
    let remote = remote.layer(middleware::from_fn(browsers::refuse_other_sites));
    let remote = remote.layer(middleware::map_response(of_now));
    let remote = server::serve_tcp(http, remote);
    tokio::select! {
        ended = lines => ended,
        never = unix => Ok(never),
        never = remote => Ok(never),
    }
}

fn router(shared: Shared) -> Router {
    let (router, document) = openapi::begin()
        .routes(routes!(health::is_alive))
        .routes(routes!(health::is_ready))
        .routes(routes!(flows::flows))
        .routes(routes!(lookup::lookup))
        .routes(routes!(clients::clients))
        .routes(routes!(status::listeners))
        .routes(routes!(status::status))
        .routes(routes!(metrics::metrics))
        .merge(acl::routes())
        .merge(reload::routes())
        .merge(drain::routes())
        .split_for_parts();
    router
        .merge(page::routes())
        .merge(openapi::route(document))
        .fallback(|| async { fail(StatusCode::NOT_FOUND, "there is no such resource") })
        .method_not_allowed_fallback(unsupported("only GET is supported"))
        .with_state(shared)
}

/// Answers are true now only, and are what they say they are.
async fn of_now(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(browsers::RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    response
}
