//! `POST /v1/reload`: reads the configuration again.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use proxyip_api::finding::{Finding, FindingKind};
use proxyip_api::health::ErrorJson;
use proxyip_api::reload::{LastReload, Reloaded};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::api::failure::{Failure, fail, unsupported};
use crate::api::owner::Owner;
use crate::api::state::Shared;
use crate::reconcile::reloads::Last;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    let reload = routes!(reload);
    OpenApiRouter::new()
        .routes(reload.map(|route| route.fallback(unsupported("only POST is supported"))))
}

/// Reads the configuration file again, as SIGHUP does, and waits until it is in force or refused.
#[utoipa::path(
    post, path = "/v1/reload", tag = "agent",
    responses(
        (status = 200, description = "It is in force", body = Reloaded),
        (status = 403, description = "The caller may not make changes", body = ErrorJson),
        (status = 409, description = "It was refused: the old configuration stays in force", body = ErrorJson),
    )
)]
async fn reload(State(shared): State<Shared>, _: Owner) -> Result<Json<Reloaded>, Failure> {
    let ended = shared.reloads.reload().await;
    let outcome = ended.map_err(|ending| fail(StatusCode::SERVICE_UNAVAILABLE, ending))?;
    match outcome {
        Ok(warnings) => Ok(Json(Reloaded { warnings })),
        Err(sentence) => Err(fail(StatusCode::CONFLICT, sentence)),
    }
}

/// How the last reload ended, for the status.
pub(crate) fn last(last: Last) -> LastReload {
    let Last { at, error, .. } = last;
    LastReload { successful: error.is_none(), time: format!("{at:.3}"), error }
}

/// What somebody should look at, if the last reload was refused.
pub(crate) fn finding(last: &Last) -> Option<Finding> {
    let error = last.error.as_ref()?;
    // Findings are a line each.
    let reason = error.trim().lines().map(str::trim).collect::<Vec<_>>().join("; ");
    let sentence = format!(
        "the reload at {:.0} was refused, and the configuration before it stays in force: {reason}",
        last.at
    );
    Some(Finding::new(FindingKind::ReloadRefused, sentence))
}
