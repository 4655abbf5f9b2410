//! Which question has which answer over HTTP.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use utoipa_axum::routes;

use super::failure::{fail, unsupported};
use super::routes::{acl, clients, config, drain, flows, health, lookup, metrics, reload, status};
use super::state::Shared;
use super::{browsers, openapi, page};

pub(super) fn router(shared: Shared) -> Router {
    let (router, document) = openapi::begin()
        .routes(routes!(health::is_alive))
        .routes(routes!(health::is_ready))
        .routes(routes!(flows::flows))
        .routes(routes!(lookup::lookup))
        .routes(routes!(clients::clients))
        .routes(routes!(status::listeners))
        .routes(routes!(status::status))
        .routes(routes!(config::config))
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
pub(super) async fn of_now(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(browsers::RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    response
}
