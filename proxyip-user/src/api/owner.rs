//! Who may change something.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::failure::{Failure, fail};
use super::server::Caller;

/// A caller who may change something.
pub(crate) struct Owner;

impl<S: Sync> FromRequestParts<S> for Owner {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let sentence = match parts.extensions.get() {
            Some(Caller::Owner) => return Ok(Self),
            Some(Caller::Remote) => "changes are made over the Unix socket only",
            Some(Caller::Other) | None => "only root may make changes",
        };
        Err(fail(StatusCode::FORBIDDEN, sentence))
    }
}
