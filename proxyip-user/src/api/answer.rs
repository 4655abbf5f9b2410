//! Answers that may be long.

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;

/// The type of most answers.
pub(crate) const JSON: &str = "application/json";
/// Of a request's head, and of an answer that waits in memory for its reader; in bytes.
pub(crate) const BUFFER: usize = 64 * 1024;
/// Bytes that are handed over at once to be sent.
const FRAME: usize = 32 * 1024;

/// An answer that is handed over in parts: no more than a part of it waits in the connection's memory. It holds `permit`
/// until the last part.
pub(crate) fn send(
    content_type: &'static str,
    bytes: Vec<u8>,
    permit: OwnedSemaphorePermit,
) -> Response {
    let mut rest = Bytes::from(bytes);
    let frames = std::iter::from_fn(move || {
        let _ = &permit;
        let length = rest.len().min(FRAME);
        (length > 0).then(|| Ok::<_, std::convert::Infallible>(rest.split_to(length)))
    });
    ([(CONTENT_TYPE, content_type)], Body::from_stream(stream::iter(frames))).into_response()
}
