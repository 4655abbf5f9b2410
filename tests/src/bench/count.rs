//! Which counters there are.

use proxyip_common::counter::{Counter, DropReason, Obstacle};
use proxyip_common::verdict::Verdict;

/// A counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// One of the host's.
    Counter(Counter),
    /// Segments refused for this reason.
    Drop(DropReason),
    /// Connections left to the kernel for this reason.
    Left(Obstacle),
    /// Index of the listener, and which of its counters. Verdicts and latencies have variants below.
    Listener(u32, u32),
    /// Connections of all listeners with this verdict.
    Outcome(Verdict),
    /// Headers of all listeners with a known duration.
    Latency,
}

impl From<Counter> for Count {
    fn from(counter: Counter) -> Self {
        Self::Counter(counter)
    }
}

impl From<DropReason> for Count {
    fn from(reason: DropReason) -> Self {
        Self::Drop(reason)
    }
}

impl From<Obstacle> for Count {
    fn from(reason: Obstacle) -> Self {
        Self::Left(reason)
    }
}
