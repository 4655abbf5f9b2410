//! The outcome of each connection: who opened it, and whom the application took for its client.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What clients and applications have seen.
#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    /// Whose question has this number.
    askers: HashMap<u64, SocketAddr>,
    served: u64,
    lost: Vec<Lost>,
    unguarded: Vec<Unguarded>,
    wrong: Vec<String>,
}

/// A connection that failed.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    pub(crate) begun: Instant,
    pub(crate) lasted: Duration,
    pub(crate) error: String,
}

/// An application has got a header, or the load balancer for a client.
#[derive(Clone, Debug)]
pub(crate) struct Unguarded {
    pub(crate) at: Instant,
    pub(crate) port: u16,
    pub(crate) line: String,
    pub(crate) named: SocketAddr,
}

impl fmt::Display for Unguarded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, line, named, .. } = self;
        write!(formatter, "port {port}: client {named}, first line {line:?}")
    }
}

impl Book {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client is about to ask, under this number.
    pub(crate) fn asks(&self, number: u64, client: SocketAddr) {
        self.pages().askers.insert(number, client);
    }

    /// A client has got its answers. What the application reads of it afterwards may still be wrong.
    pub(crate) fn served(&self) {
        self.pages().served += 1;
    }

    /// The client has got none.
    pub(crate) fn lost(&self, lost: Lost) {
        self.pages().lost.push(lost);
    }

    /// Whose question this is.
    pub(crate) fn asker(&self, number: u64) -> Option<SocketAddr> {
        self.pages().askers.get(&number).copied()
    }

    pub(crate) fn unguarded(&self, one: Unguarded) {
        self.pages().unguarded.push(one);
    }

    pub(crate) fn wrong(&self, sentence: String) {
        self.pages().wrong.push(sentence);
    }

    pub(crate) fn count_served(&self) -> u64 {
        self.pages().served
    }

    pub(crate) fn all_lost(&self) -> Vec<Lost> {
        self.pages().lost.clone()
    }

    pub(crate) fn all_unguarded(&self) -> Vec<Unguarded> {
        self.pages().unguarded.clone()
    }

    pub(crate) fn all_wrong(&self) -> Vec<String> {
        self.pages().wrong.clone()
    }
}
