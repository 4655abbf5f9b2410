//! What a running agent answers: HTTP/1.1 with JSON on a Unix socket and a TCP address, and the line protocol.

pub mod answer;
mod browsers;
pub mod failure;
pub mod leaving;
pub mod limits;
pub mod lines;
pub mod listen;
pub mod openapi;
pub mod owner;
pub mod page;
pub mod query;
pub mod routes;
pub mod server;
pub mod serving;
pub mod sockets;
pub mod source;
pub mod state;
#[cfg(test)]
mod tests;
pub mod unix_socket;
pub mod view;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use utoipa_axum::routes;

use self::failure::{fail, unsupported};
use self::routes::{acl, clients, drain, flows, health, lookup, metrics, reload, status};
pub use self::serving::{NextApi, Server};
pub use self::sockets::Sockets;
pub use self::source::Source;
pub use self::state::{Parts, Shared};

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
