//! One of several things that a thread does in turn. Its failures hold up none of the others.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{FIRST_WAIT, Health, Work, attempt, longer};

/// A task, which is tried again later when it fails.
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

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

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
}
