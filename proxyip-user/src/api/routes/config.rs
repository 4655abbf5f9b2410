//! `GET /v1/config`: the configuration in force.

use axum::extract::State;
use axum::response::Response;
use proxyip_api::config::ConfigJson;

use crate::api::failure::Failure;
use crate::api::state::Shared;

/// The configuration in force. Rules that commands have made are not part of it.
#[utoipa::path(
    get, path = "/v1/config", tag = "agent",
    responses((status = 200, description = "Each key, and the networks of each file", body = ConfigJson))
)]
pub(crate) async fn config(State(shared): State<Shared>) -> Result<Response, Failure> {
    shared.json(|shared| Ok(shared.active().config.shown())).await
}
