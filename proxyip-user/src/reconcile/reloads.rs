//! Reloads of the configuration: who asks for one, and how the last one ended.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

/// Requests that wait at a time; whoever comes then waits for room.
const WAITING: usize = 16;

/// The warnings of the configuration that is in force now, or why the old one stays.
pub type Outcome = Result<Vec<String>, String>;

/// Asks for reloads, and knows how the last one ended.
#[derive(Clone, Debug)]
pub struct Reloads {
    ask: mpsc::Sender<oneshot::Sender<Outcome>>,
    last: Arc<Mutex<Last>>,
}

/// The other end: takes the requests, and notes how reloads ended.
#[derive(Debug)]
pub struct Requests {
    asked: mpsc::Receiver<oneshot::Sender<Outcome>>,
    last: Arc<Mutex<Last>>,
}

/// How the last reload ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    /// When it did.
    pub at: Timestamp,
    /// When the configuration in force was read.
    pub succeeded_at: Timestamp,
    /// Why the file was refused, if it was.
    pub error: Option<String>,
}

/// The agent does not take requests any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent is about to end")]
pub struct Ending;

/// Both ends; the start of the agent counts as a reload that succeeded now.
#[must_use]
pub fn reloads() -> (Reloads, Requests) {
    let (ask, asked) = mpsc::channel(WAITING);
    let now = Timestamp::now();
    let last = Arc::new(Mutex::new(Last { at: now, succeeded_at: now, error: None }));
    (Reloads { ask, last: Arc::clone(&last) }, Requests { asked, last })
}

impl Reloads {
    /// Has the configuration read again, and waits until it is in force or refused.
    ///
    /// # Errors
    /// If the agent ends meanwhile.
    pub async fn reload(&self) -> Result<Outcome, Ending> {
        let (answer, outcome) = oneshot::channel();
        self.ask.send(answer).await.map_err(|_| Ending)?;
        outcome.await.map_err(|_| Ending)
    }

    /// How the last one ended.
    #[must_use]
    pub fn last(&self) -> Last {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Requests {
    /// Whoever asks next; waits for ever if nobody will.
    pub async fn next(&mut self) -> oneshot::Sender<Outcome> {
        match self.asked.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// Notes how a reload ended.
    pub fn note(&self, outcome: &Outcome) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.at = Timestamp::now();
        last.error = outcome.as_ref().err().cloned();
        if outcome.is_ok() {
            last.succeeded_at = last.at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_asks_gets_the_outcome() {
        let (reloads, mut requests) = reloads();
        let answer = async {
            let outcome = Err("listener.ports: missing".to_owned());
            requests.note(&outcome);
            requests.next().await.send(outcome).unwrap();
        };
        let (outcome, ()) = tokio::join!(reloads.reload(), answer);
        assert_eq!(outcome, Ok(Err("listener.ports: missing".into())));
        drop(requests);
        assert_eq!(reloads.reload().await, Err(Ending));
    }

    #[test]
    fn a_refused_reload_leaves_the_time_of_the_last_good_one() {
        let (reloads, requests) = reloads();
        let start = reloads.last();
        assert_eq!((start.at, &start.error), (start.succeeded_at, &None));
        requests.note(&Err("no".into()));
        let refused = reloads.last();
        assert_eq!((refused.succeeded_at, refused.error), (start.succeeded_at, Some("no".into())));
        assert!(refused.at >= start.at);
        requests.note(&Ok(Vec::new()));
        let good = reloads.last();
        assert_eq!((good.at, good.error), (good.succeeded_at, None));
    }
}
