//! How much of a socket's requests is under way at a time.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Failure;
use super::failure::fail;

/// Requests that read whole tables, or change something.
const WORKS: usize = 4;
/// Pages of the flow table, and of rules, that wait for their readers. Each is about a megabyte.
const PAGES: usize = 16;
/// Bytes of other answers that are too long for a connection's own buffer, and wait for their readers.
const ANSWERS: usize = 16 << 20;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Of one socket: whoever keeps one busy does not hold up another.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    works: Arc<Semaphore>,
    pages: Arc<Semaphore>,
    /// In bytes.
    answers: Arc<Semaphore>,
}

impl Limits {
    pub(super) fn new() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { works: semaphore(WORKS), pages: semaphore(PAGES), answers: semaphore(ANSWERS) }
    }

    /// To be held while something is done that may take its time.
    pub(super) async fn work(&self) -> Result<OwnedSemaphorePermit, Failure> {
        turn(&self.works, 1).await
    }

    /// To be held until a page has been sent.
    pub(super) async fn page(&self) -> Result<OwnedSemaphorePermit, Failure> {
        turn(&self.pages, 1).await
    }

    /// To be held until an answer of so many bytes has been sent.
    pub(super) async fn answer(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Failure> {
        turn(&self.answers, bytes.min(ANSWERS)).await
    }
}

async fn turn(semaphore: &Arc<Semaphore>, permits: usize) -> Result<OwnedSemaphorePermit, Failure> {
    let permits = u32::try_from(permits).unwrap_or(u32::MAX);
    match timeout(PATIENCE, Arc::clone(semaphore).acquire_many_owned(permits)).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => {
            Err(fail(StatusCode::SERVICE_UNAVAILABLE, "too many requests are under way; try again"))
        }
    }
}
