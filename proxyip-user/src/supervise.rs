//! Threads that do one thing again and again. An error or a panic ends one round of one thread, and nothing else.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

/// How long a thread waits after a round that failed. Each further failure doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest that it becomes.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Which threads fail now, and why.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, Trouble>>>);

/// A thread whose last round failed.
#[derive(Debug)]
struct Trouble {
    /// Whose trouble it is.
    thread: ThreadId,
    error: String,
    since: Instant,
    /// When the next round begins.
    retry: Instant,
}

/// What a thread is for.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// The thread's name: at most 15 bytes.
    pub(crate) thread: &'static str,
    /// What does not happen while it fails, as the beginning of a sentence. Two threads share it only while one of them
    /// ends.
    pub(crate) purpose: String,
    /// How long to wait after a round that went well.
    pub(crate) period: Duration,
}

impl Health {
    /// The threads that fail now; a sentence each.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let now = Instant::now();
        let sentence = |(purpose, trouble): (&String, &Trouble)| {
            let since = now.saturating_duration_since(trouble.since).as_secs();
            let retry = trouble.retry.saturating_duration_since(now).as_secs();
            let error = &trouble.error;
            format!("{purpose}: fails since {since} s, and is tried again in {retry} s: {error}")
        };
        self.troubles().iter().map(sentence).collect()
    }

    /// Repeats `round` on a thread of its own, for the life of the process.
    ///
    /// # Errors
    /// If there is no thread. What goes wrong in a round is no error: it is logged, [`Health::sentences`] has it, and
    /// the next round comes later.
    pub(crate) fn spawn(
        &self,
        work: Work,
        mut round: impl FnMut() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let health = self.clone();
        let name = work.thread;
        let run = move || {
            let mut task = Task::new(work.clone(), health);
            loop {
                task.attempt(&mut round);
                let rest = task.rests_until().map(|until| until - Instant::now());
                thread::sleep(rest.unwrap_or(work.period));
            }
        };
        let thread = thread::Builder::new().name(name.into()).spawn(run);
        thread.map(drop).with_context(|| format!("no thread {name:?}"))
    }

    fn failed(&self, work: &Work, error: &anyhow::Error, wait: Duration) {
        let seconds = wait.as_secs();
        tracing::error!("{}: tried again in {seconds} s: {error:#}", work.purpose);
        let now = Instant::now();
        let mut troubles = self.troubles();
        let since = troubles.get(&work.purpose).map_or(now, |trouble| trouble.since);
        let (thread, error) = (thread::current().id(), format!("{error:#}"));
        let trouble = Trouble { thread, error, since, retry: now + wait };
        troubles.insert(work.purpose.clone(), trouble);
    }

    fn recovered(&self, work: &Work) {
        if self.troubles().remove(&work.purpose).is_some() {
            tracing::info!("{}: goes well again", work.purpose);
        }
    }

    /// The calling thread ends. A successor may have trouble with the same work by now.
    fn forget(&self, work: &Work) {
        let own = thread::current().id();
        self.troubles()
            .retain(|purpose, trouble| *purpose != work.purpose || trouble.thread != own);
    }

    fn troubles(&self) -> MutexGuard<'_, BTreeMap<String, Trouble>> {
        // Nothing can panic between the changes of an entry.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of several things that a thread does in turn. Its failures hold up none of the others: it is tried again later.
#[derive(Debug)]
pub(crate) struct Task {
    work: Work,
    health: Health,
    wait: Duration,
    /// It is not tried before.
    rests_until: Option<Instant>,
}

impl Task {
    pub(crate) const fn new(work: Work, health: Health) -> Self {
        Self { work, health, wait: FIRST_WAIT, rests_until: None }
    }

    /// When it is tried again; `None` if it has not failed.
    pub(crate) const fn rests_until(&self) -> Option<Instant> {
        self.rests_until
    }

    /// Does it once. A failure is in [`Health::sentences`] until it goes well. Returns whether it did.
    pub(crate) fn attempt(&mut self, once: impl FnMut() -> Result<()>) -> bool {
        let Err(error) = attempt(once) else {
            if self.rests_until.take().is_some() {
                self.health.recovered(&self.work);
                self.wait = FIRST_WAIT;
            }
            return true;
        };
        self.health.failed(&self.work, &error, self.wait);
        self.rests_until = Some(Instant::now() + self.wait);
        self.wait = longer(self.wait);
        false
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.health.forget(&self.work);
    }
}

/// Does something whose panic must not end its thread. Returns whether it was done.
pub(crate) fn shield(work: impl FnOnce()) -> bool {
    let done = catch_unwind(AssertUnwindSafe(work));
    if let Err(panic) = &done {
        tracing::error!("{:#}", said(&**panic));
    }
    done.is_ok()
}

fn longer(wait: Duration) -> Duration {
    (wait * 2).min(LONGEST_WAIT)
}

/// One round; a panic is an error.
fn attempt(round: impl FnMut() -> Result<()>) -> Result<()> {
    // A round that panicked may leave its own state unfinished, as one that failed may.
    catch_unwind(AssertUnwindSafe(round)).unwrap_or_else(|panic| Err(said(&*panic)))
}

/// What a panic said. The panic hook has written the place to standard error.
fn said(panic: &(dyn Any + Send)) -> anyhow::Error {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    anyhow!("a fault of proxyip, to be reported: {text}")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use anyhow::bail;

    use super::*;

    fn work(purpose: &str) -> Work {
        Work { thread: "test", purpose: purpose.into(), period: Duration::from_millis(1) }
    }

    /// Runs rounds. The first one calls `first`, the others do nothing. The receiver gets each round's number.
    fn start(health: &Health, purpose: &str, first: fn() -> Result<()>) -> Receiver<u32> {
        let (begun, rounds) = sync_channel(0);
        let mut number = 0;
        let round = move || {
            number += 1;
            begun.send(number).ok();
            if number == 1 { first() } else { Ok(()) }
        };
        health.spawn(work(purpose), round).unwrap();
        rounds
    }

    #[test]
    fn a_thread_goes_on_after_an_error_and_a_panic() {
        for (first, sentence) in [
            ((|| bail!("no memory")) as fn() -> Result<()>, "no memory"),
            (|| panic!("at the end"), "at the end"),
        ] {
            let health = Health::default();
            let rounds = start(&health, "routes", first);
            assert_eq!(rounds.recv(), Ok(1));
            let troubles = loop {
                let troubles = health.sentences();
                if !troubles.is_empty() {
                    break troubles;
                }
                thread::yield_now();
            };
            assert!(troubles[0].starts_with("routes: fails since 0 s"), "{troubles:?}");
            assert!(troubles[0].ends_with(sentence), "{troubles:?}");
            assert_eq!((rounds.recv(), rounds.recv()), (Ok(2), Ok(3)));
            assert!(health.sentences().is_empty());
        }
    }

    #[test]
    fn a_thread_that_fails_does_not_hold_up_another() {
        let health = Health::default();
        let failing = start(&health, "one namespace", || bail!("it is gone"));
        let well = start(&health, "another namespace", || Ok(()));
        assert_eq!(failing.recv(), Ok(1));
        let rounds: Vec<_> = well.iter().take(20).collect();
        assert_eq!(rounds.last(), Some(&20));
    }

    #[test]
    fn a_thread_that_ends_leaves_the_trouble_of_its_successor() {
        let (health, one) = (Health::default(), work("one namespace"));
        health.failed(&one, &anyhow!("its own"), FIRST_WAIT);
        let before = health.clone();
        thread::spawn(move || before.forget(&work("one namespace"))).join().unwrap();
        assert!(health.sentences()[0].ends_with("its own"));
        health.forget(&one);
        assert!(health.sentences().is_empty());
    }

    #[test]
    fn a_task_that_fails_rests_and_its_trouble_ends_with_it() {
        let health = Health::default();
        let work = Work { thread: "test", purpose: "one of many".into(), period: Duration::ZERO };
        let mut task = Task::new(work, health.clone());
        assert!(task.attempt(|| Ok(())) && task.rests_until().is_none());
        assert!(!task.attempt(|| bail!("no memory")));
        assert!(task.rests_until().is_some_and(|until| until > Instant::now()));
        assert!(health.sentences()[0].starts_with("one of many: fails"));
        assert!(task.attempt(|| Ok(())) && task.rests_until().is_none());
        assert!(health.sentences().is_empty());
        assert!(!task.attempt(|| panic!("at the end")));
        assert_eq!(health.sentences().len(), 1);
        drop(task);
        assert!(health.sentences().is_empty());
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute() {
        let waits = std::iter::successors(Some(FIRST_WAIT), |wait| Some(longer(*wait)));
        let seconds: Vec<_> = waits.map(|wait| wait.as_secs()).take(9).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
