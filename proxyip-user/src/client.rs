//! Asks a running agent.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proxyip_api::health::ErrorJson;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Rules of a million networks take some seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there, or may not be asked.
    #[error("no agent answers on {}{}: {cause}{}", path.display(), named(path), hint(cause))]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The conversation broke off.
    #[error("the agent broke off its answer{}", if .0.is_parse() { "; is this the socket for HTTP, and not the lookup socket?" } else { "" })]
    Http(#[from] hyper::Error),
    /// The answer is not what this version understands.
    #[error("the agent's answer makes no sense; is it of another version?")]
    Json(#[from] serde_json::Error),
    /// It is there, and says nothing.
    #[error("the agent on {} does not answer within {} s", .0.display(), .1.as_secs())]
    Silent(PathBuf, Duration),
    /// The agent says no.
    #[error("{sentence}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The agent's sentence.
        sentence: String,
    },
}

/// Who has named this socket, if it is easily forgotten.
fn named(path: &Path) -> &'static str {
    let is_named =
        std::env::var_os("PROXYIP_SOCKET").is_some_and(|named| path == Path::new(&named));
    if is_named { ", which PROXYIP_SOCKET names" } else { "" }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            " (start it with `proxyip run`, or name its socket with --socket)"
        }
        io::ErrorKind::PermissionDenied => " (only root and the socket's group may ask)",
        _ => "",
    }
}

/// The JSON that the agent on `socket` answers a GET of `path` with, decoded and as it came.
///
/// # Errors
/// Any answer but 200 is one.
pub async fn get<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
) -> Result<(T, Bytes), ClientError> {
    request(socket, Method::GET, path).await
}

/// Escapes a text, for example a listener's name, for a part of a path or query.
#[must_use]
pub fn escaped(text: &str) -> impl Display {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

/// The JSON that the agent on `socket` answers a request without a body with, decoded and as it came.
///
/// # Errors
/// Any answer but 200 is one, and none within half a minute.
pub async fn request<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
) -> Result<(T, Bytes), ClientError> {
    request_within(PATIENCE, socket, (method, path)).await
}

/// The same, with another patience.
///
/// # Errors
/// Any answer but 200 is one, and none within that time.
pub async fn request_within<T: DeserializeOwned>(
    patience: Duration,
    socket: &Path,
    (method, path): (Method, &str),
) -> Result<(T, Bytes), ClientError> {
    let body = timeout(patience, converse(socket, method, path)).await;
    let body = body.map_err(|_| ClientError::Silent(socket.into(), patience))??;
    Ok((serde_json::from_slice(&body)?, body))
}

/// The text that the agent on `socket` answers a GET of `path` with.
///
/// # Errors
/// Any answer but 200 is one, and none within half a minute.
pub async fn text(socket: &Path, path: &str) -> Result<String, ClientError> {
    let body = timeout(PATIENCE, converse(socket, Method::GET, path)).await;
    let body = body.map_err(|_| ClientError::Silent(socket.into(), PATIENCE))??;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The body of the answer.
async fn converse(socket: &Path, method: Method, path: &str) -> Result<Bytes, ClientError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|cause| ClientError::Unreachable { path: socket.into(), cause })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "proxyip")
        .body(Empty::<Bytes>::new())
        .expect("paths are made of addresses, constants and what is escaped");
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if status != StatusCode::OK {
        let sentence = serde_json::from_slice::<ErrorJson>(&body)?.error;
        return Err(ClientError::Refused { status, sentence });
    }
    Ok(body)
}
