//! Answers that may be long.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::sync::OwnedSemaphorePermit;

/// The type of most answers.
pub(crate) const JSON: &str = "application/json";
/// Of a request's head, and of an answer that waits in memory for its reader; in bytes.
pub(crate) const BUFFER: usize = 64 * 1024;
/// Bytes that are handed over at once to be sent.
const FRAME: usize = 32 * 1024;

/// An answer that is handed over in parts, so that no more than a part of it waits in the connection's memory, and that
/// holds `permit` until the last.
pub(crate) fn send(
    content_type: &'static str,
    bytes: Vec<u8>,
    permit: OwnedSemaphorePermit,
) -> Response {
    let permit = Arc::new(permit);
    let mut rest = Bytes::from(bytes);
    let frames = std::iter::from_fn(move || {
        let length = rest.len().min(FRAME);
        (length > 0).then(|| rest.split_to(length))
    });
    let frames = frames.map(move |part| {
        let _ = &permit;
        Ok::<_, std::convert::Infallible>(Frame::data(part))
    });
    let body = Body::new(StreamBody::new(stream::iter(frames)));
    ([(CONTENT_TYPE, content_type)], body).into_response()
}
