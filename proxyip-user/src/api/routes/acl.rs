//! `/v1/acl/LISTENER`: who may connect. `POST /v1/disconnect`: the end of connections that may not be.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use proxyip_api::acl::{Decision, Disconnected, MAX_RULES, Origin, Rule, Rules, Verdict};
use proxyip_api::health::ErrorJson;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::api::failure::{Failure, fail, unsupported};
use crate::api::owner::Owner;
use crate::api::query;
use crate::api::state::Shared;
use crate::desired::rules::Part;
use crate::json;
use crate::reconcile::acl::{Acl, AclError};

/// Any text may be a listener's name: it comes percent-encoded.
type Name = Result<Path<String>, PathRejection>;
type Asked<T> = Result<Query<T>, QueryRejection>;

/// Rules on a page.
const DEFAULT_LIMIT: u16 = 1000;

// A parameter that is misspelt must not be as if it were absent.

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct RulesQuery {
    /// How many rules, from 1 to 10000; 1000 if absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 10_000, default = 1000)]
    limit: Option<String>,
    /// `next` of the page before; absent for the first.
    #[param(example = "203.0.113.0/24")]
    cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct SetQuery {
    /// Whom the rule is about: a network, or an address.
    #[param(example = "203.0.113.0/24")]
    network: String,
    /// Whether they may connect.
    verdict: Verdict,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct RemoveQuery {
    /// Whom the rule is about: a network, or an address.
    #[param(example = "203.0.113.0/24")]
    network: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct TestQuery {
    /// An address.
    #[param(example = "203.0.113.9")]
    client: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct DisconnectQuery {
    /// Only connections of this listener.
    listener: Option<String>,
}

/// The rule is gone.
#[derive(Serialize, ToSchema)]
struct Done {}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
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

/// The rules of a listener, in pages.
#[utoipa::path(
    get, path = "/v1/acl/{listener}", tag = "acl",
    params(("listener" = String, Path, description = "Its name"), RulesQuery),
    responses(
        (status = 200, description = "A page, in the order of their networks", body = Rules),
        (status = 400, description = "A parameter is wrong", body = ErrorJson),
        (status = 404, description = "No listener has this name", body = ErrorJson),
    )
)]
async fn rules(
    State(shared): State<Shared>,
    listener: Name,
    query: Asked<RulesQuery>,
) -> Result<Response, Failure> {
    let Path(listener) = listener?;
    let Query(RulesQuery { limit, cursor }) = query?;
    let limit = query::limit(limit.as_deref(), DEFAULT_LIMIT, MAX_RULES)?;
    let after = cursor.map(|text| query::network("cursor", &text)).transpose()?;
    let read = move |shared: &Shared| {
        let rules = shared.acl.rules(&listener, Part { after, limit })?;
        json::to_vec(&rules).map_err(Failure::from_json)
    };
    shared.page(read).await
}

/// Makes or changes a rule; it counts from the next connection on.
#[utoipa::path(
    put, path = "/v1/acl/{listener}", tag = "acl",
    params(("listener" = String, Path, description = "Its name"), SetQuery),
    responses(
        (status = 200, description = "The rule", body = Rule),
        (status = 400, description = "A parameter is wrong", body = ErrorJson),
        (status = 403, description = "The caller may not change rules", body = ErrorJson),
        (status = 404, description = "No listener has this name", body = ErrorJson),
    )
)]
async fn set(
    State(shared): State<Shared>,
    _: Owner,
    listener: Name,
    query: Asked<SetQuery>,
) -> Result<Response, Failure> {
    let Path(listener) = listener?;
    let Query(SetQuery { network, verdict }) = query?;
    let network = query::network("network", &network)?;
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
        (status = 404, description = "No listener has this name, or it has no rule for this network", body = ErrorJson),
        (status = 409, description = "The rule is the configuration's", body = ErrorJson),
    )
)]
async fn remove(
    State(shared): State<Shared>,
    _: Owner,
    listener: Name,
    query: Asked<RemoveQuery>,
) -> Result<Response, Failure> {
    let Path(listener) = listener?;
    let Query(RemoveQuery { network }) = query?;
    let network = query::network("network", &network)?;
    ask(&shared, move |acl| acl.remove(&listener, network).map(|()| Done {})).await
}

/// What a listener does with a client, and why.
#[utoipa::path(
    get, path = "/v1/acl/{listener}/test", tag = "acl",
    params(("listener" = String, Path, description = "Its name"), TestQuery),
    responses(
        (status = 200, description = "The verdict", body = Decision),
        (status = 400, description = "A parameter is wrong", body = ErrorJson),
        (status = 404, description = "No listener has this name", body = ErrorJson),
    )
)]
async fn test(
    State(shared): State<Shared>,
    listener: Name,
    query: Asked<TestQuery>,
) -> Result<Response, Failure> {
    let Path(listener) = listener?;
    let Query(TestQuery { client }) = query?;
    let client = query::address("client", &client)?;
    ask(&shared, move |acl| acl.test(&listener, client)).await
}

/// Ends established connections whose clients are denied by now: 10000 at most. If there are as many in the answer,
/// there may be more.
#[utoipa::path(
    post, path = "/v1/disconnect", params(DisconnectQuery), tag = "acl",
    responses(
        (status = 200, description = "Those connections", body = Vec<Disconnected>),
        (status = 400, description = "A parameter is wrong", body = ErrorJson),
        (status = 403, description = "The caller may not change rules", body = ErrorJson),
        (status = 404, description = "No listener has this name", body = ErrorJson),
    )
)]
async fn disconnect(
    State(shared): State<Shared>,
    _: Owner,
    query: Asked<DisconnectQuery>,
) -> Result<Response, Failure> {
    let Query(DisconnectQuery { listener }) = query?;
    // It has its place among the answers before anything is ended.
    let end = move |shared: &Shared| {
        let ended = shared.acl.disconnect(listener.as_deref())?;
        json::to_vec(&ended).map_err(Failure::from_json)
    };
    shared.page(end).await
}

/// Asks or changes, where it may take its time.
async fn ask<T: Serialize>(
    shared: &Shared,
    ask: impl FnOnce(&dyn Acl) -> Result<T, AclError> + Send + 'static,
) -> Result<Response, Failure> {
    shared.json(move |shared| Ok(ask(&*shared.acl)?)).await
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
