//! Accepting connections, of both protocols.

use std::io;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::leaving::Duty;

/// How long the other end may read nothing of an answer.
pub(crate) const STALL: Duration = Duration::from_secs(10);
/// How long connections may go on after their endpoint was given up.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// How long to wait before the next try, if accepting fails because memory or file descriptors run out.
const RETRY: Duration = Duration::from_secs(1);
/// Connections that are still accepted after the endpoint was given up, because they came before.
const WAITING: usize = 4096;

/// Hands connections to `welcome` until the endpoint is given up.
pub(crate) async fn accept<S, F: Future<Output = io::Result<S>>>(
    duty: &Duty,
    accept: impl Fn() -> F,
    welcome: impl Fn(S),
) {
    let mut leaving = duty.leaving();
    loop {
        let accepted = tokio::select! {
            accepted = accept() => accepted,
            () = leaving.begun() => break,
        };
        match accepted {
            Ok(stream) => welcome(stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!("{duty}: connections have to wait: {error}");
                tokio::select! {
                    () = sleep(RETRY) => {}
                    () = leaving.begun() => break,
                }
            }
        }
    }
    // The runtime learns meanwhile who has come.
    yield_now().await;
    for _ in 0..WAITING {
        let Some(Ok(stream)) = accept().now_or_never() else { return };
        welcome(stream);
    }
}
