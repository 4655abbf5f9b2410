//! `GET /healthz`, `GET /readyz`: whether the agent answers, and whether connections can come.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use proxyip_api::finding::Finding;
use proxyip_api::health::{Alive, ErrorJson, IsReady};

use crate::api::failure::{Failure, fail};
use crate::api::state::Shared;
use crate::config::Listener;

/// Whether the agent answers at all.
#[utoipa::path(
    get, path = "/healthz", tag = "agent",
    responses((status = 200, description = "It does", body = Alive))
)]
pub(crate) async fn is_alive() -> Json<Alive> {
    Json(Alive { alive: true })
}

/// Whether connections can come: the kernel programs are attached to all interfaces, and their maps can be read.
/// Drained listeners are named, but what an operator wants is no fault.
#[utoipa::path(
    get, path = "/readyz", tag = "agent",
    responses(
        (status = 200, description = "They can", body = IsReady),
        (status = 503, description = "An interface is gone, a program is not attached, a thread of the agent fails, or the maps have parts of two configurations", body = ErrorJson),
    )
)]
pub(crate) async fn is_ready(State(shared): State<Shared>) -> Result<Json<IsReady>, Failure> {
    let detached = shared.source.detached();
    if !detached.is_empty() {
        let sentences = Finding::sentences(&detached).join("; ");
        return Err(fail(StatusCode::SERVICE_UNAVAILABLE, sentences));
    }
    if let Some(sentence) = shared.source.mixed() {
        return Err(fail(StatusCode::SERVICE_UNAVAILABLE, sentence));
    }
    shared.source.counters()?;
    let active = shared.active();
    let drains =
        |place, listener: &Listener| !shared.source.drained(place, &listener.ports).is_empty();
    let drained = active.listeners().filter(|(place, listener)| drains(*place, listener));
    let drained = drained.map(|(_, listener)| listener.name.clone()).collect();
    Ok(Json(IsReady { ready: true, drained }))
}
