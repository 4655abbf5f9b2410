//! What the handlers share.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use proxyip_common::flow::{FlowKey, FlowRecord};
use serde::Serialize;

use super::answer::{BUFFER, JSON, send};
use super::failure::{Failure, fail};
use super::limits::permits::Limits;
use super::source::Source;
use crate::desired::active::{Active, Current};
use crate::flowlog::flows::Flows;
use crate::flowlog::losses::LostLines;
use crate::json;
use crate::reconcile::acl::Acl;
use crate::reconcile::drain::Drain;
use crate::reconcile::reloads::Reloads;

/// What the handlers need.
#[derive(Clone)]
pub struct Shared {
    pub(super) source: Arc<dyn Source>,
    pub(super) acl: Arc<dyn Acl>,
    pub(super) drain: Arc<dyn Drain>,
    pub(super) flows: Arc<Flows>,
    pub(super) current: Current,
    pub(super) lost_lines: LostLines,
    pub(super) reloads: Reloads,
    pub(super) started: Instant,
    /// Since the Unix epoch.
    pub(super) started_at: Duration,
    pub(super) limits: Limits,
}

/// Where answers come from.
pub struct Parts {
    /// The kernel side.
    pub source: Arc<dyn Source>,
    /// Answers questions about rules, and takes changes.
    pub acl: Arc<dyn Acl>,
    /// Drains listeners.
    pub drain: Arc<dyn Drain>,
    /// The flows, with their TLVs.
    pub flows: Arc<Flows>,
    /// The configuration in force.
    pub current: Current,
    /// Lines of the flow log that could not be written.
    pub lost_lines: LostLines,
    /// Takes requests for reloads.
    pub reloads: Reloads,
}

impl Shared {
    /// Answers come from `parts`.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { source, acl, drain, flows, current, lost_lines, reloads } = parts;
        Self {
            source,
            acl,
            drain,
            flows,
            current,
            lost_lines,
            reloads,
            started: Instant::now(),
            started_at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            limits: Limits::new(),
        }
    }

    /// The same for another socket.
    pub(super) fn apart(&self) -> Self {
        Self { limits: Limits::new(), ..self.clone() }
    }

    /// Runs `work` where it may take its time: maps are read by system calls, and tables may be large.
    pub(super) async fn blocking<T: Send + 'static>(
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
    pub(super) async fn answer(
        &self,
        content_type: &'static str,
        work: impl FnOnce(&Self) -> Result<Vec<u8>, Failure> + Send + 'static,
    ) -> Result<Response, Failure> {
        let bytes = self.blocking(move |shared| Ok(work(shared))).await??;
        if bytes.len() <= BUFFER {
            return Ok(([(CONTENT_TYPE, content_type)], bytes).into_response());
        }
        let permit = self.limits.answer(bytes.len())?;
        Ok(send(content_type, bytes, permit))
    }

    /// The same as JSON.
    pub(super) async fn json<T: Serialize>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<Response, Failure> {
        let work = |shared: &Self| json::to_vec(&work(shared)?).map_err(Failure::from_json);
        self.answer(JSON, work).await
    }

    /// Answers with a page of JSON, which may be long: see [`send`].
    pub(super) async fn page(
        &self,
        work: impl FnOnce(&Self) -> Result<Vec<u8>, Failure> + Send + 'static,
    ) -> Result<Response, Failure> {
        let permit = self.limits.page().await?;
        let bytes = self.blocking(move |shared| Ok(work(shared))).await??;
        Ok(send(JSON, bytes, permit))
    }

    pub(super) fn active(&self) -> Arc<Active> {
        Arc::clone(&self.current.borrow())
    }

    /// The flows of the listener with this name.
    pub(super) fn of_listener(&self, name: &str) -> Result<OfListener, Failure> {
        let active = self.active();
        let named = active.named(name).map(|(place, _)| place);
        let place = named
            .ok_or_else(|| fail(StatusCode::NOT_FOUND, format!("there is no listener {name:?}")))?;
        Ok(OfListener { place, active })
    }
}

/// Chooses the flows of one listener.
pub(super) struct OfListener {
    place: u16,
    active: Arc<Active>,
}

impl OfListener {
    pub(super) fn takes(&self, key: &FlowKey, record: &FlowRecord) -> bool {
        let of_flow = self.active.of_flow(record.listener, key.local.0.port());
        of_flow.is_some_and(|(place, _)| place == self.place)
    }
}
