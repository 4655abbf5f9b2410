//! `GET /openapi.json`: the API's description, made from the handlers themselves.

use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi;
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;

use crate::api::state::Shared;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "proxyip",
        description = "Asks a running agent of proxyip. Over the TCP address only GET is answered. Each answer to an \
                       HTTP request that is not 200 is `{\"error\": \"a sentence\"}`.",
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
pub(crate) fn begin() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Description::openapi())
}

/// Answers that every resource has.
const COMMON: [(&str, &str); 3] = [
    (
        "403",
        "Over TCP: the request names a host other than localhost or an address, or wants to change something",
    ),
    ("500", "The kernel's maps cannot be read"),
    ("503", "Too many requests are under way"),
];

/// Adds what every resource may answer and does not describe itself.
fn describe_common(document: &mut Document) {
    for (path, item) in &mut document.paths.paths {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            for (status, description) in COMMON {
                if path == "/healthz" && status != "403" {
                    continue;
                }
                let error = Ref::from_schema_name("ErrorJson");
                let content = ContentBuilder::new().schema(Some(error)).build();
                let response = ResponseBuilder::new()
                    .description(description)
                    .content("application/json", content)
                    .build();
                let responses = &mut operation.responses.responses;
                responses.entry(status.into()).or_insert_with(|| response.into());
            }
        }
    }
}

/// Serves the finished document.
pub(crate) fn route(mut document: Document) -> Router<Shared> {
    describe_common(&mut document);
    let document = Arc::new(document);
    Router::new().route("/openapi.json", get(async move || Json(Document::clone(&document))))
}
