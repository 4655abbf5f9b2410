//! What a running agent answers: HTTP/1.1 with JSON on a Unix socket and a TCP address, and the line protocol.

pub mod failure;
pub mod limits;
pub mod lines;
pub mod openapi;
pub mod page;
pub mod query;
pub mod routes;
pub mod server;
pub mod sockets;
pub mod source;
#[cfg(test)]
mod tests;
pub mod unix_socket;
pub mod view;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, middleware};
use proxyip_api::health::{Alive, ErrorJson, IsReady};
use proxyip_api::status::{ListenersJson, Status};
use serde::Serialize;
use utoipa_axum::routes;

use crate::api::failure::{Failure, fail};
use crate::api::limits::descriptors;
use crate::api::limits::permits::Limits;
use crate::api::routes::{acl, clients, flows, lookup, metrics, status};
pub use crate::api::sockets::Sockets;
pub use crate::api::source::Source;
use crate::desired::active::{Active, Current};
use crate::flowlog::flows::Flows;
use crate::flowlog::queue::LostLines;
use crate::json;
use crate::reconcile::acl::Acl;

/// What the handlers need.
#[derive(Clone)]
pub struct Shared {
    source: Arc<dyn Source>,
    acl: Arc<dyn Acl>,
    flows: Arc<Flows>,
    current: Current,
    lost_lines: LostLines,
    started: Instant,
    /// Since the Unix epoch.
    started_at: Duration,
    limits: Limits,
}

impl Shared {
    /// Reads from `source` and `flows`, asks and changes `acl`; tells of `current` and `lost_lines`.
    #[must_use]
    pub fn new(
        source: impl Source,
        acl: impl Acl,
        flows: Arc<Flows>,
        current: Current,
        lost_lines: LostLines,
    ) -> Self {
        Self {
            source: Arc::new(source),
            acl: Arc::new(acl),
            flows,
            current,
            lost_lines,
            started: Instant::now(),
            started_at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            limits: Limits::new(),
        }
    }

    /// The same for another socket.
    fn apart(&self) -> Self {
        Self { limits: Limits::new(), ..self.clone() }
    }

    /// Runs `work` where it may take its time: maps are read by system calls, and tables may be large.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let shared = self.clone();
        let permit = self.limits.work().await?;
        let work = move || {
            let _permit = permit;
            work(&shared)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => Ok(result?),
            Err(error) => Err(fail(StatusCode::INTERNAL_SERVER_ERROR, error)),
        }
    }

    /// Answers with what `work` makes, which is no page: it does not wait for readers of those.
    async fn answer(
        &self,
        content_type: &'static str,
        work: impl FnOnce(&Self) -> Result<Vec<u8>, Failure> + Send + 'static,
    ) -> Result<Response, Failure> {
        let bytes = self.blocking(move |shared| Ok(work(shared))).await??;
        if bytes.len() <= server::BUFFER {
            return Ok(([(CONTENT_TYPE, content_type)], bytes).into_response());
        }
        let permit = self.limits.answer(bytes.len())?;
        Ok(flows::send(content_type, bytes, permit))
    }

    /// The same as JSON.
    async fn json<T: Serialize>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<Response, Failure> {
        let work = |shared: &Self| json::to_vec(&work(shared)?).map_err(Failure::from_json);
        self.answer(flows::JSON, work).await
    }

    /// Answers with a page of JSON, which may be long: see [`flows::send`].
    async fn page(
        &self,
        work: impl FnOnce(&Self) -> Result<Vec<u8>, Failure> + Send + 'static,
    ) -> Result<Response, Failure> {
        let permit = self.limits.page().await?;
        let bytes = self.blocking(move |shared| Ok(work(shared))).await??;
        Ok(flows::send(flows::JSON, bytes, permit))
    }

    fn active(&self) -> Arc<Active> {
        Arc::clone(&self.current.borrow())
    }

    /// The place of the listener with this name.
    fn place_of(&self, name: &str) -> Result<u16, Failure> {
        let active = self.active();
        let named = active.named(name).map(|(place, _)| place);
        named.ok_or_else(|| fail(StatusCode::NOT_FOUND, format!("there is no listener {name:?}")))
    }
}

/// Answers on the sockets for ever.
///
/// # Errors
/// If the sockets cannot be used.
pub async fn serve(sockets: &Sockets, shared: Shared) -> Result<Infallible> {
    descriptors::lift_limit();
    let router = router(shared.clone()).layer(middleware::map_response(of_now));
    let lines = lines::serve(sockets.lookup()?, Arc::clone(&shared.source));
    let unix = server::serve_unix(sockets.api()?, router);
    let Some(http) = sockets.http()? else {
        return tokio::select! { ended = lines => ended, never = unix => Ok(never) };
    };
    let mut remote = self::router(shared.apart());
    if !sockets.http_remote {
        remote = remote.layer(middleware::from_fn(server::refuse_other_names));
    }
    let remote = remote.layer(middleware::map_response(of_now));
    let remote = server::serve_tcp(http, remote);
    tokio::select! {
        ended = lines => ended,
        never = unix => Ok(never),
        never = remote => Ok(never),
    }
}

fn router(shared: Shared) -> Router {
    let (router, document) = openapi::begin()
        .routes(routes!(is_alive))
        .routes(routes!(is_ready))
        .routes(routes!(flows::flows))
        .routes(routes!(lookup::lookup))
        .routes(routes!(clients::clients))
        .routes(routes!(listeners))
        .routes(routes!(status))
        .routes(routes!(metrics::metrics))
        .merge(acl::routes())
        .split_for_parts();
    router
        .merge(page::routes())
        .merge(openapi::route(document))
        .fallback(|| async { fail(StatusCode::NOT_FOUND, "there is no such resource") })
        .method_not_allowed_fallback(unsupported("only GET is supported"))
        .with_state(shared)
}

/// Answers are true now only, and are what they say they are.
async fn of_now(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The answer to a resource's other methods.
fn unsupported(
    sentence: &'static str,
) -> impl Fn() -> Ready<Failure> + Clone + Send + Sync + 'static {
    move || ready(fail(StatusCode::METHOD_NOT_ALLOWED, sentence))
}

/// Whether the agent answers at all.
#[utoipa::path(
    get, path = "/healthz", tag = "agent",
    responses((status = 200, description = "It does", body = Alive))
)]
async fn is_alive() -> Json<Alive> {
    Json(Alive { alive: true })
}

/// Whether connections can come: the kernel programs are attached to all interfaces, and their maps can be read.
#[utoipa::path(
    get, path = "/readyz", tag = "agent",
    responses(
        (status = 200, description = "They can", body = IsReady),
        (status = 503, description = "An interface is gone", body = ErrorJson),
    )
)]
async fn is_ready(State(shared): State<Shared>) -> Result<Json<IsReady>, Failure> {
    let detached = shared.source.detached();
    if !detached.is_empty() {
        return Err(fail(StatusCode::SERVICE_UNAVAILABLE, detached.join("; ")));
    }
    shared.source.counters()?;
    Ok(Json(IsReady { ready: true }))
}

/// What the agent guards, and what it has counted.
#[utoipa::path(
    get, path = "/v1/status", tag = "agent",
    responses((status = 200, description = "All of it", body = Status))
)]
async fn status(State(shared): State<Shared>) -> Result<Response, Failure> {
    let read =
        |shared: &Shared| Ok(status::read(&*shared.source, &shared.active(), shared.started)?);
    shared.json(read).await
}

/// What the agent guards.
#[utoipa::path(
    get, path = "/v1/listeners", tag = "agent",
    responses((status = 200, description = "In the order of the configuration", body = ListenersJson))
)]
async fn listeners(State(shared): State<Shared>) -> Result<Response, Failure> {
    let read = |shared: &Shared| {
        let listeners = status::listeners(&*shared.source, &shared.active())?;
        Ok(ListenersJson { listeners })
    };
    shared.json(read).await
}
