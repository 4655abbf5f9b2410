//! What others ask of the thread that looks after what is attached.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use proxyip_api::finding::Finding;

/// Something that does not wait for the next look.
pub(super) enum Request {
    /// A look at everything, at once. Whoever asks gets what is not guarded after it.
    Look(SyncSender<Vec<Finding>>),
    /// A look at the namespace with this cookie: its interfaces have changed.
    Changed(u64),
}

/// What was asked for since the last look.
#[derive(Default)]
pub(super) struct Asked {
    /// Who waits for a look at everything.
    pub(super) answers: Vec<SyncSender<Vec<Finding>>>,
    /// The cookies of namespaces whose interfaces have changed.
    pub(super) changed: BTreeSet<u64>,
}

impl Asked {
    /// Waits for the first request, but not for longer than this, and takes all that are there.
    pub(super) fn wait(requests: &Receiver<Request>, at_most: Duration) -> Self {
        let mut asked = Self::default();
        match requests.recv_timeout(at_most) {
            Ok(request) => asked.add(request),
            Err(RecvTimeoutError::Timeout) => {}
            // The agent ends.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(at_most),
        }
        for request in requests.try_iter() {
            asked.add(request);
        }
        asked
    }

    fn add(&mut self, request: Request) {
        match request {
            Request::Look(answer) => self.answers.push(answer),
            Request::Changed(cookie) => {
                self.changed.insert(cookie);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{channel, sync_channel};

    use super::*;

    #[test]
    fn all_that_is_there_is_taken_at_once() {
        let (ask, requests) = channel();
        for cookie in [7, 8, 7] {
            ask.send(Request::Changed(cookie)).unwrap();
        }
        ask.send(Request::Look(sync_channel(1).0)).unwrap();
        let asked = Asked::wait(&requests, Duration::from_mins(1));
        assert_eq!((asked.answers.len(), asked.changed), (1, [7, 8].into()));
        let asked = Asked::wait(&requests, Duration::ZERO);
        assert_eq!((asked.answers.len(), asked.changed.len()), (0, 0));
    }
}
