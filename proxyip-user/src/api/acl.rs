//! `/v1/acl/LISTENER`: who may connect. `POST /v1/disconnect`: the end of connections that may not be.

use std::net::IpAddr;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use super::server::Caller;
use super::{ErrorJson, Failure, Shared, fail, unsupported};
use crate::acl::{Acl, AclError, Decision, Disconnected, Origin, Rule, Rules, Verdict};
use crate::config;

/// Any text may be a listener's name: it comes percent-encoded.
type Name = Result<Path<String>, PathRejection>;
type Asked<T> = Result<Query<T>, QueryRejection>;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SetQuery {
    /// Whom the rule is about.
    #[serde(deserialize_with = "network")]
    #[param(value_type = String, example = "203.0.113.0/24")]
    network: IpNet,
    /// Whether they may connect.
    verdict: Verdict,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RemoveQuery {
    /// Whom the rule is about.
    #[serde(deserialize_with = "network")]
    #[param(value_type = String, example = "203.0.113.0/24")]
    network: IpNet,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct TestQuery {
    /// An address.
    #[param(value_type = String, example = "203.0.113.9")]
    client: IpAddr,
}

/// A misspelt `listener` must not mean all of them.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct DisconnectQuery {
    /// Only connections of this listener.
    listener: Option<String>,
}

/// Nothing more is to be said.
#[derive(Serialize, ToSchema)]
struct Done {}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let rules = routes!(rules, set, remove);
    let disconnect = routes!(disconnect);
    OpenApiRouter::new()
        .routes(
            rules
                .map(|rules| rules.fallback(unsupported("only GET, PUT and DELETE are supported"))),
        )
        .routes(routes!(test))
        // Not below /v1/acl, where it would be a listener's name.
        .routes(disconnect.map(|route| route.fallback(unsupported("only POST is supported"))))
}

/// The rules of a listener.
#[utoipa::path(
    get, path = "/v1/acl/{listener}", params(("listener" = String, Path, description = "Its name")), tag = "acl",
    responses(
        (status = 200, description = "In the order of their networks", body = Rules),
        (status = 404, description = "There is no such listener", body = ErrorJson),
    )
)]
async fn rules(State(shared): State<Shared>, listener: Name) -> Result<Response, Failure> {
    let Path(listener) = listener?;
    // Rules may be 100,000.
    shared.json(move |shared| Ok(shared.acl.rules(&listener)?)).await
}

/// Makes or changes a rule; it counts from the next connection on.
#[utoipa::path(
    put, path = "/v1/acl/{listener}", tag = "acl",
    params(("listener" = String, Path, description = "Its name"), SetQuery),
    responses(
        (status = 200, description = "The rule", body = Rule),
        (status = 400, description = "A parameter is wrong", body = ErrorJson),
        (status = 403, description = "The caller may not change rules", body = ErrorJson),
        (status = 404, description = "There is no such listener", body = ErrorJson),
    )
)]
async fn set(
    State(shared): State<Shared>,
    _: Owner,
    listener: Name,
    query: Asked<SetQuery>,
) -> Result<Json<Rule>, Failure> {
    let Path(listener) = listener?;
    let Query(SetQuery { network, verdict }) = query?;
    let set = move |acl: &dyn Acl| {
        acl.set(&listener, network, verdict)?;
        Ok(Rule { network, verdict, origin: Origin::Command })
    };
    ask(&shared, set).await
}

/// Removes a rule that was made by command.
#[utoipa::path(
    delete, path = "/v1/acl/{listener}", tag = "acl",
    params(("listener" = String, Path, description = "Its name"), RemoveQuery),
    responses(
        (status = 200, description = "It is removed", body = Done),
        (status = 400, description = "A parameter is wrong", body = ErrorJson),
        (status = 403, description = "The caller may not change rules", body = ErrorJson),
        (status = 404, description = "There is no such listener or rule", body = ErrorJson),
        (status = 409, description = "The rule is the configuration's", body = ErrorJson),
    )
)]
async fn remove(
    State(shared): State<Shared>,
    _: Owner,
    listener: Name,
    query: Asked<RemoveQuery>,
) -> Result<Json<Done>, Failure> {
    let Path(listener) = listener?;
    let Query(RemoveQuery { network }) = query?;
    ask(&shared, move |acl| acl.remove(&listener, network).map(|()| Done {})).await
}

/// What a listener does with a client, and why.
#[utoipa::path(
    get, path = "/v1/acl/{listener}/test", tag = "acl",
    params(("listener" = String, Path, description = "Its name"), TestQuery),
    responses(
        (status = 200, description = "The verdict", body = Decision),
        (status = 400, description = "A parameter is wrong", body = ErrorJson),
        (status = 404, description = "There is no such listener", body = ErrorJson),
    )
)]
async fn test(
    State(shared): State<Shared>,
    listener: Name,
    query: Asked<TestQuery>,
) -> Result<Json<Decision>, Failure> {
    let Path(listener) = listener?;
    let Query(TestQuery { client }) = query?;
    ask(&shared, move |acl| acl.test(&listener, client.to_canonical())).await
}

/// Ends established connections whose clients are denied by now.
#[utoipa::path(
    post, path = "/v1/disconnect", params(DisconnectQuery), tag = "acl",
    responses(
        (status = 200, description = "Those connections", body = Vec<Disconnected>),
        (status = 400, description = "A parameter is wrong", body = ErrorJson),
        (status = 403, description = "The caller may not change rules", body = ErrorJson),
        (status = 404, description = "There is no such listener", body = ErrorJson),
    )
)]
async fn disconnect(
    State(shared): State<Shared>,
    _: Owner,
    query: Asked<DisconnectQuery>,
) -> Result<Json<Vec<Disconnected>>, Failure> {
    let Query(DisconnectQuery { listener }) = query?;
    ask(&shared, move |acl| acl.disconnect(listener.as_deref())).await
}

fn network<'de, D: Deserializer<'de>>(text: D) -> Result<IpNet, D::Error> {
    config::network(&String::deserialize(text)?).map_err(serde::de::Error::custom)
}

/// A caller who may change rules.
struct Owner;

impl<S: Sync> FromRequestParts<S> for Owner {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let sentence = match parts.extensions.get() {
            Some(Caller::Owner) => return Ok(Self),
            Some(Caller::Remote) => "rules are changed over the Unix socket only",
            Some(Caller::Other) | None => "only root may change rules",
        };
        Err(fail(StatusCode::FORBIDDEN, sentence))
    }
}

/// Asks or changes, where it may take its time.
async fn ask<T: Send + 'static>(
    shared: &Shared,
    ask: impl FnOnce(&dyn Acl) -> Result<T, AclError> + Send + 'static,
) -> Result<Json<T>, Failure> {
    let result = shared.blocking(move |shared| Ok(ask(&*shared.acl))).await?;
    result.map(Json).map_err(Failure::from)
}

impl From<AclError> for Failure {
    fn from(error: AclError) -> Self {
        let status = match error {
            AclError::NoListener { .. } | AclError::NoRule { .. } => StatusCode::NOT_FOUND,
            AclError::NotByCommand { .. } => StatusCode::CONFLICT,
            AclError::Kernel(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        fail(status, error)
    }
}
