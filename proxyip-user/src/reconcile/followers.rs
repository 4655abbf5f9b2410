//! Follows all namespaces that are served, on one thread: their sysctls, routes, interfaces and rules of NAT.
//!
//! The thread enters a namespace to look at it, and leaves it again: else it would keep the namespace alive.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::followed::Followed;
use super::namespaces::{Tables, Watcher};
use super::orders::{Answer, Inbox, Order, Orders, orders};
use crate::host::changes::{Changed, Changes};
use crate::host::entrance::Entrance;
use crate::host::namespace::Namespace;
use crate::host::nsid::{Nsid, Nsids};
use crate::supervise::{Health, Task, Work};

/// What is announced waits so long for more of it.
const REST: Duration = Duration::from_millis(20);
/// The longest wait, should nothing happen.
const TICK: Duration = Duration::from_secs(1);

/// What is called with a namespace's cookie when its interfaces or routes have changed.
pub(crate) type Tell = Arc<dyn Fn(u64) + Send + Sync>;

/// Has namespaces followed.
pub(crate) struct Followers {
    orders: Orders<Wish>,
    nsids: Nsids,
    health: Health,
}

/// How long it rests after a socket for rules was refused.
const RULES_REST: Duration = Duration::from_secs(30);

/// What the thread is told. It answers when it is done.
enum Wish {
    Follow(Box<Followed>),
    /// The namespace with this cookie.
    Leave(u64),
}

impl Followers {
    /// Starts the thread, which calls `tell`.
    ///
    /// # Errors
    /// If there is no thread or no netlink socket.
    pub(crate) fn start(pin_path: &Path, health: &Health, tell: Tell) -> Result<Self> {
        let (orders, inbox) = orders()?;
        let mut thread = Thread {
            home: Namespace::own()?,
            changes: Changes::of_links_and_routes()?,
            rules: None,
            rules_rest_until: Instant::now(),
            tables: Tables::open(pin_path)?,
            inbox,
            followed: BTreeMap::new(),
            numbers: HashMap::new(),
            deaf_until: Instant::now(),
            tell,
        };
        // A round waits by itself.
        let purpose = "following network namespaces".into();
        let work = Work { thread: "namespaces", purpose, period: Duration::ZERO };
        let mut task = Task::new(work.clone(), health.clone());
        health.spawn(work, move || thread.round(&mut task))?;
        Ok(Self { orders, nsids: Nsids::open()?, health: health.clone() })
    }

    /// Follows a namespace from now on. Returns after the first look, which writes the routes.
    ///
    /// # Errors
    /// If the namespace is gone, or the thread, or if that has failed. What goes wrong in a look is in
    /// [`Health::sentences`].
    pub(crate) fn follow(&self, watcher: Watcher, entrance: Entrance) -> Result<()> {
        let number = self.nsids.of(&entrance.open()?)?;
        let followed = Followed::new(watcher, (entrance, number), self.health.clone());
        self.orders.give(Wish::Follow(Box::new(followed)))
    }

    /// Follows it no longer, and leaves nothing of it in the maps. Returns when that is done.
    ///
    /// # Errors
    /// If the thread is gone.
    pub(crate) fn leave(&self, cookie: u64) -> Result<()> {
        self.orders.give(Wish::Leave(cookie))
    }
}

/// What the thread has.
struct Thread {
    /// The agent's own namespace.
    home: Namespace,
    changes: Changes,
    /// Of nftables, from when a namespace has been seen to have them.
    rules: Option<Changes>,
    /// Until then it is not tried again to listen to them.
    rules_rest_until: Instant,
    tables: Tables,
    inbox: Inbox<Wish>,
    /// By cookie.
    followed: BTreeMap<u64, Followed>,
    /// The cookies of namespaces, by their numbers; the agent's own has none.
    numbers: HashMap<Option<Nsid>, u64>,
    /// Until then nobody listens to what is announced.
    deaf_until: Instant,
    tell: Tell,
}

impl Thread {
    /// `task` is the work of a round. While it rests because it has failed, nobody waits for it.
    fn round(&mut self, task: &mut Task) -> Result<()> {
        let rests_until = task.rests_until().filter(|until| *until > Instant::now());
        self.wait(rests_until)?;
        for order in self.inbox.take() {
            self.follow_order(order, rests_until);
        }
        if rests_until.is_none()
            && !task.attempt(|| self.work())
            && let Some(until) = task.rests_until()
        {
            self.give_up(until);
        }
        self.forget_abandoned();
        Ok(())
    }

    /// Looks at what is due.
    fn work(&mut self) -> Result<()> {
        self.home.enter()?;
        if self.deaf_until <= Instant::now() {
            self.listen();
        }
        let now = Instant::now();
        let count = self.followed.len();
        let mut due = self.followed.values_mut().filter(|one| one.due(count) <= now);
        due.try_for_each(|one| one.look(count, (&mut self.tables, &self.home)))?;
        self.listen_to_rules();
        Ok(())
    }

    /// Until something is announced, ordered or due.
    fn wait(&self, rests_until: Option<Instant>) -> Result<()> {
        let now = Instant::now();
        let count = self.followed.len();
        let due = self.followed.values().map(|one| one.due(count)).min();
        let is_deaf = now < self.deaf_until || rests_until.is_some();
        let due = due.into_iter().chain((now < self.deaf_until).then_some(self.deaf_until)).min();
        let left = rests_until.or(due).map_or(TICK, |due| due.saturating_duration_since(now));
        let heard = self.sockets().filter(|_| !is_deaf).map(AsFd::as_fd);
        let waited = self.inbox.wait(heard, left.min(TICK));
        waited.context("changes of namespaces cannot be waited for")
    }

    fn sockets(&self) -> impl Iterator<Item = &Changes> {
        std::iter::once(&self.changes).chain(&self.rules)
    }

    fn follow_order(&mut self, Order { what, answer }: Order<Wish>, rests_until: Option<Instant>) {
        match (what, rests_until) {
            (Wish::Follow(_), Some(until)) => answer.resting(until),
            (Wish::Follow(one), None) => self.follow(*one, answer),
            (Wish::Leave(cookie), _) => {
                self.leave(cookie);
                answer.done();
            }
        }
    }

    /// Whoever waits for the answer gets it after the first look.
    fn follow(&mut self, mut one: Followed, answer: Answer) {
        let cookie = one.entrance.cookie();
        self.numbers.insert(Some(one.number), cookie);
        if one.entrance.is_own() {
            self.numbers.insert(None, cookie);
        }
        // What was left late may have taken away what was written before.
        one.watcher.write_anew();
        one.first = Some(answer);
        self.followed.insert(cookie, one);
    }

    fn leave(&mut self, cookie: u64) {
        self.numbers.retain(|_, there| *there != cookie);
        if let Some(Followed { watcher, entrance, .. }) = self.followed.remove(&cookie)
            && let Err(error) = watcher.leave(&mut self.tables)
        {
            let netns = entrance.netns();
            tracing::error!("what the maps say of {netns} stays there: {error:#}");
        }
    }

    /// Has those who wait for a first look hear that there is none.
    fn give_up(&mut self, until: Instant) {
        for one in self.followed.values_mut() {
            if let Some(first) = one.first.take() {
                first.resting(until);
                one.is_abandoned = true;
            }
        }
    }

    /// Nobody serves these. An agent before this one may have its programs there, so that the maps stay as they are.
    fn forget_abandoned(&mut self) {
        for one in self.followed.extract_if(.., |_, one| one.is_abandoned) {
            self.numbers.retain(|_, there| *there != one.0);
        }
    }

    /// Notes what has changed, and tells others.
    fn listen(&mut self) {
        let links = heard(&self.changes);
        let rules = self.rules.as_ref().map_or(Ok(None), heard);
        let rest = match (&links, &rules) {
            (Ok(None), Ok(None)) => return,
            (Ok(_), Ok(_)) => REST,
            _ => TICK,
        };
        let now = Instant::now();
        self.deaf_until = now + rest;
        for cookie in self.cookies(links) {
            if let Some(one) = self.followed.get_mut(&cookie) {
                one.pace.changed(now);
                (self.tell)(cookie);
            }
        }
        for cookie in self.cookies(rules) {
            if let Some(one) = self.followed.get_mut(&cookie) {
                one.is_stale = true;
            }
        }
    }

    fn cookies(&self, changed: Result<Option<Changed>, ()>) -> BTreeSet<u64> {
        let changed = changed.ok().flatten();
        changed.map(|changed| cookies(&changed, &self.numbers)).unwrap_or_default()
    }

    /// From the moment when somebody uses nftables: the kernel loads them for whoever listens.
    fn listen_to_rules(&mut self) {
        let is_used = || self.followed.values().any(|one| one.watcher.has_nftables());
        if self.rules.is_some() || self.rules_rest_until > Instant::now() || !is_used() {
            return;
        }
        match Changes::of_rules() {
            Ok(rules) => self.rules = Some(rules),
            Err(error) => {
                tracing::warn!("changes of rules of NAT are noticed late: {error:#}");
                self.rules_rest_until = Instant::now() + RULES_REST;
            }
        }
        // What has changed before is seen now.
        self.followed.values_mut().for_each(|one| one.is_stale = true);
    }
}

/// What a socket has announced. Nobody who orders something waits for a socket that fails.
fn heard(changes: &Changes) -> Result<Option<Changed>, ()> {
    changes.take().map_err(|error| tracing::error!("{error:#}"))
}

/// The namespaces that have changed.
fn cookies(changed: &Changed, numbers: &HashMap<Option<Nsid>, u64>) -> BTreeSet<u64> {
    match changed {
        Changed::Within(within) => {
            within.iter().filter_map(|number| numbers.get(number)).copied().collect()
        }
        Changed::Anywhere => numbers.values().copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_announced_without_room_may_have_been_of_any_namespace() {
        let numbers = HashMap::from([(Some(0), 70), (Some(1), 71), (None, 70)]);
        let within = Changed::Within([Some(1), Some(5)].into());
        assert_eq!(cookies(&within, &numbers), [71].into());
        assert_eq!(cookies(&Changed::Within([None].into()), &numbers), [70].into());
        assert_eq!(cookies(&Changed::Anywhere, &numbers), [70, 71].into());
    }
}
