//! `POST /v1/listeners/LISTENER/drain`, `…/resume`: whether new connections are taken.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use proxyip_api::drain::Drained;
use proxyip_api::health::ErrorJson;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::api::failure::{Failure, fail, unsupported};
use crate::api::owner::Owner;
use crate::api::state::Shared;
use crate::reconcile::drain::DrainError;
use crate::tables::drained::Change;

/// Any text may be a listener's name: it comes percent-encoded.
type Name = Result<Path<String>, PathRejection>;
type Asked = Result<Query<PortQuery>, QueryRejection>;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct PortQuery {
    /// One of the listener's ports; all if absent.
    #[param(example = 443, minimum = 1)]
    port: Option<u16>,
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    let (drain, resume) = (routes!(drain), routes!(resume));
    let only_post = || unsupported("only POST is supported");
    OpenApiRouter::new()
        .routes(drain.map(|route| route.fallback(only_post())))
        .routes(resume.map(|route| route.fallback(only_post())))
}

/// Refuses new connections of trusted sources with a RST; established ones go on.
#[utoipa::path(
    post, path = "/v1/listeners/{listener}/drain", tag = "agent",
    params(("listener" = String, Path, description = "Its name"), PortQuery),
    responses(
        (status = 200, description = "What is drained now", body = Drained),
        (status = 400, description = "A parameter is wrong", body = ErrorJson),
        (status = 403, description = "The caller may not make changes", body = ErrorJson),
        (status = 404, description = "No listener has this name, or it does not guard this port", body = ErrorJson),
    )
)]
async fn drain(
    State(shared): State<Shared>,
    _: Owner,
    listener: Name,
    query: Asked,
) -> Result<Response, Failure> {
    make(&shared, listener, query, Change::Drain).await
}

/// Takes new connections again.
#[utoipa::path(
    post, path = "/v1/listeners/{listener}/resume", tag = "agent",
    params(("listener" = String, Path, description = "Its name"), PortQuery),
    responses(
        (status = 200, description = "What is still drained", body = Drained),
        (status = 400, description = "A parameter is wrong", body = ErrorJson),
        (status = 403, description = "The caller may not make changes", body = ErrorJson),
        (status = 404, description = "No listener has this name, or it does not guard this port", body = ErrorJson),
        (status = 409, description = "All ports are drained: resume them without a port", body = ErrorJson),
    )
)]
async fn resume(
    State(shared): State<Shared>,
    _: Owner,
    listener: Name,
    query: Asked,
) -> Result<Response, Failure> {
    make(&shared, listener, query, Change::Resume).await
}

async fn make(
    shared: &Shared,
    listener: Name,
    query: Asked,
    change: Change,
) -> Result<Response, Failure> {
    let Path(listener) = listener?;
    let Query(PortQuery { port }) = query?;
    shared.json(move |shared| Ok(shared.drain.drain(&listener, port, change)?)).await
}

impl From<DrainError> for Failure {
    fn from(error: DrainError) -> Self {
        let status = match error {
            DrainError::NoListener { .. } | DrainError::NotGuarded { .. } => StatusCode::NOT_FOUND,
            DrainError::Whole(_) => StatusCode::CONFLICT,
            DrainError::Kernel(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        fail(status, error)
    }
}
