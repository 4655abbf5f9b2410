//! Follows all namespaces that are served, on one thread with one socket: their sysctls, routes and interfaces.
//!
//! The thread enters a namespace to look at it, and leaves it again: else it would keep the namespace alive.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::namespaces::{Tables, Watcher};
use super::routes::Pace;
use crate::host::changes::{Changed, Changes};
use crate::host::namespace::Namespace;
use crate::host::nsid::{Nsid, Nsids};
use crate::host::served::{Entrance, LOOKS_A_SECOND, rest};
use crate::supervise::{Health, Task, Work};

/// What is announced waits so long for more of it.
const REST: Duration = Duration::from_millis(20);
/// The longest wait, should nothing happen.
const TICK: Duration = Duration::from_secs(1);
/// How long whoever orders something waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is called with a namespace's cookie when its interfaces or routes have changed.
pub(crate) type Tell = Arc<dyn Fn(u64) + Send + Sync>;

/// Has namespaces followed.
pub(crate) struct Followers {
    orders: Sender<Order>,
    wake: Arc<EventFd>,
    nsids: Nsids,
    health: Health,
}

/// What the thread is told. It answers when it is done.
enum Order {
    Follow(Box<Followed>, SyncSender<()>),
    /// The namespace with this cookie.
    Leave(u64, SyncSender<()>),
}

impl Followers {
    /// Starts the thread, which calls `tell`.
    ///
    /// # Errors
    /// If there is no thread or no netlink socket.
    pub(crate) fn start(pin_path: &Path, health: &Health, tell: Tell) -> Result<Self> {
        let wake = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC);
        let wake = Arc::new(wake.context("no event descriptor")?);
        let (orders, waiting) = channel();
        let mut thread = Thread {
            home: Namespace::own()?,
            changes: Changes::subscribe()?,
            tables: Tables::open(pin_path)?,
            orders: waiting,
            wake: Arc::clone(&wake),
            followed: BTreeMap::new(),
            numbers: HashMap::new(),
            deaf_until: Instant::now(),
            tell,
        };
        // A round waits by itself.
        let purpose = "following network namespaces".into();
        let work = Work { thread: "namespaces", purpose, period: Duration::ZERO };
        health.spawn(work, move || thread.round())?;
        Ok(Self { orders, wake, nsids: Nsids::open()?, health: health.clone() })
    }

    /// Follows a namespace from now on. Returns after the first look, which writes the routes.
    ///
    /// # Errors
    /// If the namespace is gone, or the thread. What goes wrong in a look is in [`Health::sentences`].
    pub(crate) fn follow(&self, watcher: Watcher, entrance: Entrance) -> Result<()> {
        let number = self.nsids.of(&entrance.open()?)?;
        let purpose =
            format!("following the sysctls, routes and interfaces of {}", entrance.netns());
        let work = Work { thread: "namespaces", purpose, period: Duration::ZERO };
        let now = Instant::now();
        let followed = Followed {
            watcher,
            entrance,
            number,
            pace: Pace::new(now),
            since: now,
            looked: now,
            task: Task::new(work, self.health.clone()),
            first: None,
        };
        self.order(|done| Order::Follow(Box::new(followed), done))
    }

    /// Follows it no longer, and leaves nothing of it in the maps. Returns when that is done.
    ///
    /// # Errors
    /// If the thread is gone.
    pub(crate) fn leave(&self, cookie: u64) -> Result<()> {
        self.order(|done| Order::Leave(cookie, done))
    }

    fn order(&self, order: impl FnOnce(SyncSender<()>) -> Order) -> Result<()> {
        let gone = "nobody follows network namespaces";
        let (done, wait) = sync_channel(1);
        self.orders.send(order(done)).context(gone)?;
        self.wake.write(1).context("the thread that follows network namespaces cannot be woken")?;
        wait.recv_timeout(PATIENCE).context(gone)
    }
}

/// A namespace that is followed.
struct Followed {
    watcher: Watcher,
    entrance: Entrance,
    /// The namespace's, for the socket.
    number: Nsid,
    pace: Pace,
    /// Since when it is followed.
    since: Instant,
    /// When it was looked at last.
    looked: Instant,
    task: Task,
    /// Waits for the first look.
    first: Option<SyncSender<()>>,
}

impl Followed {
    /// When it is to be looked at, if so many are.
    fn due(&self, namespaces: usize) -> Instant {
        if let Some(until) = self.task.rests_until() {
            return until;
        }
        // What sets a namespace up may still be at work: sysctls, rules of NAT. It is looked at after 1, 2, 4, 8 s.
        let age = self.looked.duration_since(self.since).max(TICK);
        let next = self.looked + rest(namespaces).min(age);
        self.pace.due().map_or(next, |due| due.min(next))
    }

    /// Looks at it, which is one of so many, and goes home.
    fn look(&mut self, namespaces: usize, (tables, home): (&mut Tables, &Namespace)) -> Result<()> {
        let Self { watcher, entrance, pace, task, .. } = self;
        let begin = Instant::now();
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
            first.send(()).ok();
        }
        back
    }
}

/// What the thread has.
struct Thread {
    /// The agent's own namespace.
    home: Namespace,
    changes: Changes,
    tables: Tables,
    orders: Receiver<Order>,
    wake: Arc<EventFd>,
    /// By cookie.
    followed: BTreeMap<u64, Followed>,
    /// The cookies of namespaces, by their numbers; the agent's own has none.
    numbers: HashMap<Option<Nsid>, u64>,
    /// Until then nobody listens to what is announced.
    deaf_until: Instant,
    tell: Tell,
}

impl Thread {
    fn round(&mut self) -> Result<()> {
        self.home.enter()?;
        self.wait()?;
        self.follow_orders();
        if self.deaf_until <= Instant::now() {
            match self.changes.take() {
                Ok(None) => {}
                Ok(Some(changed)) => {
                    self.deaf_until = Instant::now() + REST;
                    self.note(&changed);
                }
                // Nobody who orders something waits for a socket.
                Err(error) => {
                    tracing::error!("{error:#}");
                    self.deaf_until = Instant::now() + TICK;
                }
            }
        }
        let now = Instant::now();
        let count = self.followed.len();
        let mut due = self.followed.values_mut().filter(|one| one.due(count) <= now);
        due.try_for_each(|one| one.look(count, (&mut self.tables, &self.home)))
    }

    /// Until something is announced, ordered or due.
    fn wait(&self) -> Result<()> {
        let now = Instant::now();
        let count = self.followed.len();
        let due = self.followed.values().map(|one| one.due(count)).min();
        let is_deaf = now < self.deaf_until;
        let due = due.into_iter().chain(is_deaf.then_some(self.deaf_until)).min();
        let left = due.map_or(TICK, |due| due.saturating_duration_since(now).min(TICK));
        // The library counts whole milliseconds.
        let left = left + Duration::from_micros(999);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let polled = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
        let mut all = [polled(self.wake.as_fd()), polled(self.changes.as_fd())];
        let heard = if is_deaf { &mut all[..1] } else { &mut all[..] };
        match poll(heard, timeout) {
            Err(nix::Error::EINTR) => Ok(()),
            ready => ready.map(drop).context("changes of namespaces cannot be waited for"),
        }
    }

    fn follow_orders(&mut self) {
        // It may be armed already for what is taken here: then nothing is there next time.
        self.wake.read().ok();
        for order in self.orders.try_iter() {
            match order {
                Order::Follow(mut one, done) => {
                    let cookie = one.entrance.cookie();
                    self.numbers.insert(Some(one.number), cookie);
                    if one.entrance.is_own() {
                        self.numbers.insert(None, cookie);
                    }
                    one.first = Some(done);
                    self.followed.insert(cookie, *one);
                }
                Order::Leave(cookie, done) => {
                    self.numbers.retain(|_, there| *there != cookie);
                    if let Some(Followed { watcher, entrance, .. }) = self.followed.remove(&cookie)
                        && let Err(error) = watcher.leave(&mut self.tables)
                    {
                        let netns = entrance.netns();
                        tracing::error!("what the maps say of {netns} stays there: {error:#}");
                    }
                    done.send(()).ok();
                }
            }
        }
    }

    /// Notes what has changed, and tells others.
    fn note(&mut self, changed: &Changed) {
        let cookies: BTreeSet<u64> = match changed {
            Changed::Within(numbers) => {
                numbers.iter().filter_map(|number| self.numbers.get(number)).copied().collect()
            }
            Changed::Anywhere => self.followed.keys().copied().collect(),
        };
        let now = Instant::now();
        for cookie in cookies {
            if let Some(one) = self.followed.get_mut(&cookie) {
                one.pace.changed(now);
                (self.tell)(cookie);
            }
        }
    }
}
