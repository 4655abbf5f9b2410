//! HTTP/1.1 with JSON over a Unix socket.

mod acl;
mod flow_stream;
pub mod hand_offs;
mod socket;
mod source;
pub mod status;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt::Display;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use proxyip_common::address::Endpoint;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::sleep;

pub use self::socket::Socket;
pub use self::source::Source;
use crate::acl::Acl;
use crate::active::Current;
use crate::flows::Flows;

/// How long a lookup waits for a new flow's TLVs, and how often it looks.
const TLV_PATIENCE: Duration = Duration::from_millis(100);
const TLV_PERIOD: Duration = Duration::from_millis(5);

/// What the handlers need.
#[derive(Clone)]
pub struct Shared {
    source: Arc<dyn Source>,
    acl: Arc<dyn Acl>,
    flows: Arc<Flows>,
    current: Current,
}

/// Every answer that is not the one asked for.
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorJson {
    /// A sentence.
    pub error: String,
}

impl Shared {
    /// Reads from `source` and `flows`, asks and changes `acl`; tells of `current`.
    #[must_use]
    pub fn new(source: impl Source, acl: impl Acl, flows: Arc<Flows>, current: Current) -> Self {
        Self { source: Arc::new(source), acl: Arc::new(acl), flows, current }
    }

    /// Runs `read` where it may block: maps are read by system calls, one per entry.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T, Response> {
        let shared = self.clone();
        match tokio::task::spawn_blocking(move || read(&shared)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(fail(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))),
            Err(error) => Err(fail(StatusCode::INTERNAL_SERVER_ERROR, error)),
        }
    }
}

/// Answers requests on the socket.
///
/// # Errors
/// If the socket fails.
pub async fn serve(socket: &Socket, shared: Shared) -> Result<Infallible> {
    axum::serve(socket.listener()?, router(shared)).await?;
    bail!("nobody accepts connections any more")
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/readyz", get(is_ready))
        .route("/v1/flows", get(flow_stream::flows))
        .route("/v1/flows/lookup", get(lookup))
        .route("/v1/status", get(status))
        .merge(acl::routes())
        .fallback(|| async { fail(StatusCode::NOT_FOUND, "there is no such resource") })
        .method_not_allowed_fallback(unsupported("only GET is supported"))
        .with_state(shared)
}

fn fail(status: StatusCode, error: impl Display) -> Response {
    (status, Json(ErrorJson { error: error.to_string() })).into_response()
}

/// The answer to a resource's other methods.
fn unsupported(
    sentence: &'static str,
) -> impl Fn() -> Ready<Response> + Clone + Send + Sync + 'static {
    move || ready(fail(StatusCode::METHOD_NOT_ALLOWED, sentence))
}

/// The socket answers only once everything is attached.
async fn is_ready() -> Response {
    Json(json!({"ready": true})).into_response()
}

#[derive(Deserialize)]
struct LookupQuery {
    peer: Option<String>,
    local: Option<String>,
}

async fn lookup(
    State(shared): State<Shared>,
    query: Result<Query<LookupQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Response> {
    let query = query.map_err(|error| fail(StatusCode::BAD_REQUEST, error.body_text()))?;
    let wrong = |error: NotAnEndpoint| fail(StatusCode::BAD_REQUEST, error);
    let peer = endpoint("peer", query.peer.as_deref()).map_err(wrong)?;
    let local = endpoint("local", query.local.as_deref()).map_err(wrong)?;
    let find = move |shared: &Shared| {
        let found = shared.source.flow(peer, local)?;
        Ok(found.map(|(key, record)| {
            (shared.flows.describe(&key, &record), shared.flows.awaits_tlvs(&key, &record))
        }))
    };
    // An application may ask as soon as it has accepted: before the agent has read the header's event.
    let deadline = Instant::now() + TLV_PATIENCE;
    loop {
        match shared.blocking(find).await? {
            Some((_, true)) if Instant::now() < deadline => sleep(TLV_PERIOD).await,
            Some((flow, _)) => return Ok(Json(flow).into_response()),
            None => {
                let error = format!("no flow from {peer} to {local} is known");
                return Err(fail(StatusCode::NOT_FOUND, error));
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{name} must be IP:PORT such as 10.0.0.2:41000 or [fd00::2]:41000, not {text:?}")]
struct NotAnEndpoint {
    name: &'static str,
    text: String,
}

fn endpoint(name: &'static str, text: Option<&str>) -> Result<SocketAddr, NotAnEndpoint> {
    let text = text.unwrap_or_default();
    let address: SocketAddr =
        text.parse().map_err(|_| NotAnEndpoint { name, text: text.into() })?;
    // IPv4-mapped addresses become IPv4, as in the flow table.
    Ok(Endpoint::from(address).to_socket_addr())
}

async fn status(State(shared): State<Shared>) -> Result<Response, Response> {
    let read = |shared: &Shared| {
        let active = Arc::clone(&shared.current.borrow());
        status::read(&*shared.source, &active)
    };
    Ok(Json(shared.blocking(read).await?).into_response())
}
