//! `GET /v1/flows/lookup`: the flow of a 4-tuple.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use proxyip_api::flow::LiveFlow;
use proxyip_api::health::ErrorJson;
use proxyip_common::address::Endpoint;
use serde::Deserialize;
use tokio::time::sleep;
use utoipa::IntoParams;

use crate::api::answer::JSON;
use crate::api::failure::{Failure, fail};
use crate::api::state::Shared;
use crate::json;

/// How long a lookup waits for a new flow's TLVs, and how often it looks.
const TLV_PATIENCE: Duration = Duration::from_millis(100);
const TLV_PERIOD: Duration = Duration::from_millis(5);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct LookupQuery {
    /// The load balancer's end, IP:PORT.
    #[param(example = "10.0.0.2:34711", required)]
    peer: Option<String>,
    /// This host's end, IP:PORT.
    #[param(example = "10.0.1.2:443", required)]
    local: Option<String>,
}

/// The flow of a connection.
#[utoipa::path(
    get, path = "/v1/flows/lookup", params(LookupQuery), tag = "flows",
    responses(
        (status = 200, description = "The flow", body = LiveFlow),
        (status = 400, description = "An end is missing or is not IP:PORT", body = ErrorJson),
        (status = 404, description = "No such flow is known", body = ErrorJson),
    )
)]
pub(crate) async fn lookup(
    State(shared): State<Shared>,
    query: Result<Query<LookupQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query?;
    let peer = endpoint("peer", query.peer.as_deref())?;
    let local = endpoint("local", query.local.as_deref())?;
    // An application may ask as soon as it has accepted: before the agent has read the header's event.
    let deadline = Instant::now() + TLV_PATIENCE;
    loop {
        // One system call, which does not block.
        let Some((key, record)) = shared.source.flow(peer, local)? else {
            let error = format!("no flow from {peer} to {local} is known");
            return Err(fail(StatusCode::NOT_FOUND, error));
        };
        if !shared.flows.awaits_tlvs(&key, &record) || Instant::now() >= deadline {
            let flow = json::to_vec(&shared.flows.live(&key, &record));
            let flow = flow.map_err(Failure::from_json)?;
            return Ok(([(CONTENT_TYPE, JSON)], flow).into_response());
        }
        sleep(TLV_PERIOD).await;
    }
}

fn endpoint(name: &str, text: Option<&str>) -> Result<SocketAddr, Failure> {
    let text = text.unwrap_or_default();
    let address = text.parse::<SocketAddr>().map_err(|_| {
        let error = format!(
            "{name} must be IP:PORT such as 10.0.0.2:41000 or [fd00::2]:41000, not {text:?}"
        );
        fail(StatusCode::BAD_REQUEST, error)
    })?;
    // IPv4-mapped addresses become IPv4, as in the flow table.
    Ok(Endpoint::from(address).to_socket_addr())
}
