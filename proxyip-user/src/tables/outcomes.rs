//! How a listener's connections ended, and how long their headers took.

use std::time::Duration;

use anyhow::Result;
use proxyip_common::counter::per_listener;
use proxyip_common::flow::HandOff;
use proxyip_common::latency::{BUCKETS, bound_ms};
use proxyip_common::verdict::Verdict;

use super::listeners::ListenerMap;

/// Connections of one kind, as [`per_listener::OUTCOMES`] counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `None` if the connection was refused before that was decided.
    pub hand_off: Option<HandOff>,
    /// Version of the PROXY header, 1 or 2; `None` if it was refused before a good one was read.
    pub version: Option<u8>,
    /// How they ended.
    pub verdict: Verdict,
    /// How many, since the pins were made; not 0.
    pub count: u64,
}

/// How long headers took, as [`per_listener::LATENCY`] counts them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// For each bucket, its upper bound in milliseconds, and how many headers took longer than the bound before but
    /// not longer than this one. The bounds ascend, and the last one is `None`.
    pub buckets: Vec<(Option<u64>, u64)>,
    /// The sum of their times.
    pub sum: Duration,
    /// How many there are in all.
    pub count: u64,
}

impl ListenerMap {
    /// How this listener's connections ended.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn outcomes(&self, listener: u16) -> Result<Vec<Outcome>> {
        let counters = self.counters(listener)?;
        let mut outcomes = Vec::new();
        for (hand_off, version, verdict) in kinds() {
            let index = per_listener::outcome(hand_off, version, verdict);
            let mut count = counters[index as usize];
            if version == 0 && verdict == Verdict::Reset {
                count += self.refused_by_agent(listener, hand_off)?;
            }
            if count > 0 {
                let hand_off = HandOff::from_u8(hand_off);
                let version = (version != 0).then_some(version);
                outcomes.push(Outcome { hand_off, version, verdict, count });
            }
        }
        Ok(outcomes)
    }

    /// How long this listener's headers took.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn header_latency(&self, listener: u16) -> Result<Latency> {
        let counters = self.counters(listener)?;
        let bucket =
            |bucket: u32| (bound_ms(bucket), counters[(per_listener::LATENCY + bucket) as usize]);
        let buckets: Vec<_> = (0..BUCKETS).map(bucket).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(counters[per_listener::LATENCY_SUM as usize]);
        Ok(Latency { buckets, sum, count })
    }
}

/// Hand-off, version and verdict of every kind of connection that is counted.
fn kinds() -> impl Iterator<Item = (u8, u8, Verdict)> {
    (0..per_listener::HAND_OFFS).flat_map(|hand_off| {
        (0..per_listener::VERSIONS)
            .flat_map(move |version| Verdict::ALL.map(|verdict| (hand_off, version, verdict)))
    })
}
