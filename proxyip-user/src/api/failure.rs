//! Answers that are not the ones asked for.

use std::fmt::Display;
use std::future::{Ready, ready};

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use proxyip_api::health::ErrorJson;

use super::answer::JSON;
use crate::json;

/// A status and a sentence.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    sentence: String,
}

pub(crate) fn fail(status: StatusCode, sentence: impl Display) -> Failure {
    Failure { status, sentence: sentence.to_string() }
}

impl Failure {
    /// JSON that cannot be written, which is a fault.
    pub(crate) fn from_json(error: serde_json::Error) -> Self {
        fail(StatusCode::INTERNAL_SERVER_ERROR, error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let error = ErrorJson { error: self.sentence };
        let text = json::to_vec(&error).expect("a sentence has a JSON form");
        (self.status, [(CONTENT_TYPE, JSON)], text).into_response()
    }
}

impl From<QueryRejection> for Failure {
    fn from(error: QueryRejection) -> Self {
        let sentence = error.body_text();
        let sentence = sentence.strip_prefix("Failed to deserialize query string: ");
        fail(StatusCode::BAD_REQUEST, sentence.unwrap_or(&error.body_text()))
    }
}

impl From<PathRejection> for Failure {
    fn from(error: PathRejection) -> Self {
        fail(StatusCode::BAD_REQUEST, error.body_text())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        fail(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))
    }
}

/// The answer to a resource's other methods.
pub(crate) fn unsupported(
    sentence: &'static str,
) -> impl Fn() -> Ready<Failure> + Clone + Send + Sync + 'static {
    move || ready(fail(StatusCode::METHOD_NOT_ALLOWED, sentence))
}
