//! A place to answer on is open until it is given up.

use std::fmt::{self, Display};

use anyhow::{Error, anyhow};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

/// A listener on which somebody answers until this is dropped. Connections that wait are still served then, and those
/// under way are finished within a bounded time.
#[derive(Debug)]
pub(crate) struct Endpoint<L> {
    // Dropped first: nobody can connect any more.
    pub(crate) listener: L,
    _open: watch::Sender<()>,
}

/// Says when its endpoint was given up.
#[derive(Clone, Debug)]
pub(crate) struct Leaving(watch::Receiver<()>);

/// Held by whoever answers. Its end is a failure, unless the endpoint was given up.
#[derive(Debug)]
pub(crate) struct Duty {
    name: &'static str,
    leaving: Leaving,
    tell: UnboundedSender<&'static str>,
}

/// Learns which duties have failed.
#[derive(Debug)]
pub struct Failures(UnboundedReceiver<&'static str>);

/// The other end of [`Failures`].
pub(crate) type Tell = UnboundedSender<&'static str>;

/// Both ends.
pub(crate) fn failures() -> (Tell, Failures) {
    let (tell, failures) = unbounded_channel();
    (tell, Failures(failures))
}

impl<L> Endpoint<L> {
    /// With the duty to answer on the listener, which messages call `name`.
    pub(crate) fn new(listener: L, name: &'static str, tell: &Tell) -> (Self, Duty) {
        let (open, leaving) = watch::channel(());
        let duty = Duty { name, leaving: Leaving(leaving), tell: tell.clone() };
        (Self { listener, _open: open }, duty)
    }
}

impl Leaving {
    /// Comes back when the endpoint was given up.
    pub(crate) async fn begun(&mut self) {
        while self.0.changed().await.is_ok() {}
    }

    fn has_begun(&self) -> bool {
        self.0.has_changed().is_err()
    }
}

impl Duty {
    /// When the duty ends.
    pub(crate) fn leaving(&self) -> Leaving {
        self.leaving.clone()
    }
}

impl Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if !self.leaving.has_begun() {
            // Nobody listens when the agent itself ends.
            self.tell.send(self.name).ok();
        }
    }
}

impl Failures {
    /// Waits for the first.
    pub async fn first(&mut self) -> Error {
        match self.0.recv().await {
            Some(name) => anyhow!("nobody answers on {name} any more"),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn whoever_ends_before_the_endpoint_is_named() {
        let (tell, mut failures) = failures();
        let (given_up, duty) = Endpoint::new((), "the first", &tell);
        let mut leaving = duty.leaving();
        assert!(leaving.begun().now_or_never().is_none());
        drop(given_up);
        assert!(leaving.begun().now_or_never().is_some());
        drop(duty);
        assert!(failures.first().now_or_never().is_none());
        let (_open, duty) = Endpoint::new((), "the second", &tell);
        drop(duty);
        let error = failures.first().now_or_never().unwrap().to_string();
        assert_eq!(error, "nobody answers on the second any more");
    }
}
