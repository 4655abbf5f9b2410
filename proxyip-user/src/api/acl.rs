//! `/v1/acl/LISTENER`: who may connect. `POST /v1/disconnect`: the end of connections that may not be.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use super::{Shared, fail, unsupported};
use crate::acl::{Acl, AclError, Origin, Rule, Verdict};
use crate::config;

/// Any text may be a listener's name: it comes percent-encoded.
type Name = Result<Path<String>, PathRejection>;
type Asked<T> = Result<Query<T>, QueryRejection>;

#[derive(Deserialize)]
struct SetQuery {
    #[serde(deserialize_with = "network")]
    network: IpNet,
    verdict: Verdict,
}

#[derive(Deserialize)]
struct RemoveQuery {
    #[serde(deserialize_with = "network")]
    network: IpNet,
}

#[derive(Deserialize)]
struct TestQuery {
    client: std::net::IpAddr,
}

/// A misspelt `listener` must not mean all of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DisconnectQuery {
    listener: Option<String>,
}

pub(super) fn routes() -> Router<Shared> {
    let rules = get(rules).put(set).delete(remove);
    Router::new()
        .route(
            "/v1/acl/{listener}",
            rules.fallback(unsupported("only GET, PUT and DELETE are supported")),
        )
        .route("/v1/acl/{listener}/test", get(test))
        // Not below /v1/acl, where it would be a listener's name.
        .route("/v1/disconnect", post(disconnect).fallback(unsupported("only POST is supported")))
}

async fn rules(State(shared): State<Shared>, listener: Name) -> Result<Response, Response> {
    let Path(listener) = listener.map_err(wrong_path)?;
    answer(&shared, move |acl| acl.rules(&listener)).await
}

async fn set(
    State(shared): State<Shared>,
    listener: Name,
    query: Asked<SetQuery>,
) -> Result<Response, Response> {
    let Path(listener) = listener.map_err(wrong_path)?;
    let Query(SetQuery { network, verdict }) = query.map_err(wrong_query)?;
    let set = move |acl: &dyn Acl| {
        acl.set(&listener, network, verdict)?;
        Ok(Rule { network, verdict, origin: Origin::Command })
    };
    answer(&shared, set).await
}

async fn remove(
    State(shared): State<Shared>,
    listener: Name,
    query: Asked<RemoveQuery>,
) -> Result<Response, Response> {
    let Path(listener) = listener.map_err(wrong_path)?;
    let Query(RemoveQuery { network }) = query.map_err(wrong_query)?;
    let remove = move |acl: &dyn Acl| acl.remove(&listener, network).map(|()| json!({}));
    answer(&shared, remove).await
}

async fn test(
    State(shared): State<Shared>,
    listener: Name,
    query: Asked<TestQuery>,
) -> Result<Response, Response> {
    let Path(listener) = listener.map_err(wrong_path)?;
    let Query(TestQuery { client }) = query.map_err(wrong_query)?;
    answer(&shared, move |acl| acl.test(&listener, client.to_canonical())).await
}

async fn disconnect(
    State(shared): State<Shared>,
    query: Asked<DisconnectQuery>,
) -> Result<Response, Response> {
    let Query(DisconnectQuery { listener }) = query.map_err(wrong_query)?;
    answer(&shared, move |acl| acl.disconnect(listener.as_deref())).await
}

#[expect(clippy::needless_pass_by_value, reason = "it is for map_err")]
fn wrong_path(error: PathRejection) -> Response {
    fail(StatusCode::BAD_REQUEST, error.body_text())
}

#[expect(clippy::needless_pass_by_value, reason = "it is for map_err")]
fn wrong_query(error: QueryRejection) -> Response {
    fail(StatusCode::BAD_REQUEST, error.body_text())
}

fn network<'de, D: Deserializer<'de>>(text: D) -> Result<IpNet, D::Error> {
    config::network(&String::deserialize(text)?).map_err(serde::de::Error::custom)
}

/// Asks or changes, and makes JSON of the answer, where both may take their time: rules may be 100,000.
async fn answer<T: Serialize>(
    shared: &Shared,
    ask: impl FnOnce(&dyn Acl) -> Result<T, AclError> + Send + 'static,
) -> Result<Response, Response> {
    let read = move |shared: &Shared| {
        Ok(match ask(&*shared.acl) {
            Ok(answer) => Json(answer).into_response(),
            Err(error) => fail(status(&error), error),
        })
    };
    shared.blocking(read).await
}

const fn status(error: &AclError) -> StatusCode {
    match error {
        AclError::NoListener { .. } | AclError::NoRule { .. } => StatusCode::NOT_FOUND,
        AclError::NotByCommand { .. } => StatusCode::CONFLICT,
        AclError::Kernel(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
