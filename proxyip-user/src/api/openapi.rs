//! `GET /openapi.json`: the API's description, made from the handlers themselves.

use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_axum::router::OpenApiRouter;

use super::Shared;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "proxyip",
        description = "Asks a running agent of proxyip. Over the TCP address only GET is answered. Whatever is not \
                       answered with 200 is `{\"error\": \"a sentence\"}`, but for what is no HTTP.",
        contact(),
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "flows", description = "Connections whose PROXY header was consumed"),
        (name = "acl", description = "Who may connect"),
        (name = "agent", description = "The agent itself"),
    )
)]
struct Description;

/// A router that is described as it grows.
pub(super) fn begin() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Description::openapi())
}

/// Serves the finished document.
pub(super) fn route(document: Document) -> Router<Shared> {
    let document = Arc::new(document);
    Router::new().route("/openapi.json", get(async move || Json(Document::clone(&document))))
}
