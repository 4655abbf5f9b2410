//! One namespace that is followed: when it is to be looked at, and the look.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::namespaces::{Tables, Watcher};
use super::orders::Answer;
use super::routes::Pace;
use crate::host::entrance::Entrance;
use crate::host::namespace::Namespace;
use crate::host::nsid::Nsid;
use crate::host::served::{LOOKS_A_SECOND, rest};
use crate::supervise::{Health, Task, Work};

/// The youngest age of a namespace.
const YOUNGEST: Duration = Duration::from_secs(1);
/// The rest between looks at rules that go on changing.
const REST: Duration = Duration::from_millis(100);

/// A namespace that is followed.
pub(super) struct Followed {
    pub(super) watcher: Watcher,
    pub(super) entrance: Entrance,
    /// The namespace's, for the sockets.
    pub(super) number: Nsid,
    pub(super) pace: Pace,
    /// Since when it is followed.
    since: Instant,
    /// When it was looked at last.
    looked: Instant,
    /// Its rules have changed since.
    pub(super) is_stale: bool,
    task: Task,
    /// Waits for the first look.
    pub(super) first: Option<Answer>,
    /// Whoever waited for that has gone.
    pub(super) is_abandoned: bool,
}

impl Followed {
    pub(super) fn new(
        watcher: Watcher,
        (entrance, number): (Entrance, Nsid),
        health: Health,
    ) -> Self {
        let purpose =
            format!("following the sysctls, routes and interfaces of {}", entrance.netns());
        let work = Work { thread: "namespaces", purpose, period: Duration::ZERO };
        let now = Instant::now();
        Self {
            watcher,
            entrance,
            number,
            pace: Pace::new(now),
            since: now,
            looked: now,
            is_stale: false,
            task: Task::new(work, health),
            first: None,
            is_abandoned: false,
        }
    }

    /// When it is to be looked at, if so many are.
    pub(super) fn due(&self, namespaces: usize) -> Instant {
        if let Some(until) = self.task.rests_until() {
            return until;
        }
        // What sets a namespace up may still be at work: sysctls, rules of NAT. It is looked at after 1, 2, 4, 8 s.
        let age = self.looked.duration_since(self.since).max(YOUNGEST);
        let rest = if self.is_stale { REST } else { rest(namespaces).min(age) };
        let next = self.looked + rest;
        self.pace.due().map_or(next, |due| due.min(next))
    }

    /// Looks at it, which is one of so many, and goes home.
    pub(super) fn look(
        &mut self,
        namespaces: usize,
        (tables, home): (&mut Tables, &Namespace),
    ) -> Result<()> {
        let Self { watcher, entrance, pace, task, .. } = self;
        let begin = Instant::now();
        self.is_stale = false;
        let went_well = task.attempt(|| {
            let is_due = pace.is_due(begin);
            let looked = entrance.enter().and_then(|()| {
                // Among many it is counted when somebody wants to know.
                if namespaces <= LOOKS_A_SECOND {
                    watcher.count_overflows();
                }
                if is_due { watcher.write_routes(tables) } else { watcher.write(tables) }
            });
            match looked {
                // It is left soon.
                Err(_) if !entrance.is_there() => {}
                looked => looked?,
            }
            if is_due {
                pace.read(begin, begin.elapsed());
            }
            Ok(())
        });
        if !went_well {
            // What changes meanwhile may be missed.
            *pace = Pace::new(begin);
        }
        self.looked = begin;
        let back = home.enter();
        if let Some(first) = self.first.take() {
            self.is_abandoned = !first.done();
        }
        back
    }
}
