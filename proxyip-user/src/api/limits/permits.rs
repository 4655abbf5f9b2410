//! Limits how many requests of a socket run at a time.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::api::failure::Failure;
use crate::api::failure::fail;

/// Requests that read whole tables, or change something.
const WORKS: usize = 4;
/// Pages of the flow table, and of rules, that wait for their readers. Each is about a megabyte.
const PAGES: usize = 16;
/// Bytes of other answers that are too long for a connection's own buffer, and wait for their readers.
const ANSWERS: usize = 16 << 20;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// The permits of one socket: a client that keeps one socket busy does not hold up another.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    works: Arc<Semaphore>,
    pages: Arc<Semaphore>,
    /// In bytes.
    answers: Arc<Semaphore>,
}

impl Limits {
    pub(crate) fn new() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { works: semaphore(WORKS), pages: semaphore(PAGES), answers: semaphore(ANSWERS) }
    }

    /// Hold it during work that may take its time.
    pub(crate) async fn work(&self) -> Result<OwnedSemaphorePermit, Failure> {
        turn(&self.works).await
    }

    /// Hold it until a page has been sent.
    pub(crate) async fn page(&self) -> Result<OwnedSemaphorePermit, Failure> {
        turn(&self.pages).await
    }

    /// Hold it until an answer of this many bytes has been sent. It does not wait for its turn: the answer is in
    /// memory already.
    pub(crate) fn answer(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Failure> {
        let permits = u32::try_from(bytes.min(ANSWERS)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.answers).try_acquire_many_owned(permits);
        permit.map_err(|_| too_many())
    }
}

async fn turn(semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Failure> {
    match timeout(PATIENCE, Arc::clone(semaphore).acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(too_many()),
    }
}

fn too_many() -> Failure {
    fail(StatusCode::SERVICE_UNAVAILABLE, "too many requests are under way; try again")
}
