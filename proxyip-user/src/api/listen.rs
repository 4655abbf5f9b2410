//! Accepting connections, of both protocols.

use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::time::Duration;

use tokio::time::sleep;

/// How long the other end may read nothing of an answer.
pub(crate) const STALL: Duration = Duration::from_secs(10);
/// How long to wait before the next try, if accepting fails because memory or file descriptors run out.
const RETRY: Duration = Duration::from_secs(1);

/// Hands connections to `welcome` for ever.
pub(crate) async fn accept<S>(
    name: impl Display,
    accept: impl AsyncFn() -> io::Result<S>,
    welcome: impl Fn(S),
) -> Infallible {
    loop {
        match accept().await {
            Ok(stream) => welcome(stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!("{name}: connections have to wait: {error}");
                sleep(RETRY).await;
            }
        }
    }
}
