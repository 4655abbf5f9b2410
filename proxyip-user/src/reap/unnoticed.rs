//! Connections that ended without a notice to the kernel programs.
//!
//! The kernel tells a socket's end to the programs that asked for it by a flag of the socket. All programs share the
//! flags: other software that sets its own without keeping ours takes our notice away. Then entries of the tables would
//! stay for ever, and a full table of translated connections refuses every new one.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::maps::{HashMap as Table, MapData};
use proxyip_common::flow::{FlowKey, FlowRecord, Translation};

use super::living::Left;
use super::sweep::Sweep;
use super::translations::{Translations, is_established};
use crate::bpf::buckets::Buckets;
use crate::bpf::loaded::others_of_sock_ops;
use crate::bpf::pod::Raw;
use crate::clock::now_ns;
use crate::host::served::Served;
use crate::supervise::{Health, Work};
use crate::tables::maps::{buckets, open_owned, remove};
use crate::tables::owners::claim;

/// How often a part of the tables is looked at.
const PERIOD: Duration = Duration::from_secs(5);
/// A connection that is younger may not be established everywhere.
const YOUNG_NS: u64 = 5_000_000_000;
/// How long it is reported after it was last seen.
const MEMORY: Duration = Duration::from_mins(15);

/// Ends that were found late.
#[derive(Clone, Debug, Default)]
pub struct UnnoticedEnds(Arc<Mutex<Option<Found>>>);

#[derive(Debug)]
struct Found {
    count: u64,
    last: Instant,
    /// Other programs of the same kind.
    others: Vec<String>,
}

impl UnnoticedEnds {
    /// A sentence, if there were some lately.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = found.as_ref().filter(|found| found.last.elapsed() < MEMORY)?;
        let cause = match &found.others[..] {
            [] => "the agent's own program of type sock_ops was not attached when they ended, or another one overwrote \
                   the callback flags of sockets (none is loaded now)"
                .into(),
            others => format!(
                "another program of type sock_ops overwrites the callback flags of sockets (loaded now: {}). It must \
                 keep the flags that it finds",
                others.join(", ")
            ),
        };
        Some(format!(
            "{} connections ended without notice, and have no line of their end in the flow log: {cause}",
            found.count
        ))
    }

    /// Returns whether it is new.
    fn add(&self, count: u64, others: Vec<String>) -> bool {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = found.take().filter(|found| found.last.elapsed() < MEMORY);
        let is_new = before.is_none();
        let count = count + before.map_or(0, |found| found.count);
        *found = Some(Found { count, last: Instant::now(), others });
        is_new
    }
}

/// Looks through the tables, a part at a time.
pub(crate) struct Sweeper {
    flows: Table<MapData, Raw<FlowKey>, Raw<FlowRecord>>,
    flow_buckets: Buckets<Raw<FlowKey>, Raw<FlowRecord>>,
    of_flows: Sweep,
    translations: Translations,
    translation_buckets: Buckets<Raw<FlowKey>, Raw<Translation>>,
    of_translations: Sweep,
    served: Served,
    found: UnnoticedEnds,
}

impl Sweeper {
    pub(crate) fn open(pin_path: &Path, served: Served, found: UnnoticedEnds) -> Result<Self> {
        Ok(Self {
            flows: open_owned(pin_path, &claim!("FLOWS"))?,
            flow_buckets: buckets(pin_path, "FLOWS")?,
            of_flows: Sweep::default(),
            translations: Translations::open(pin_path)?,
            translation_buckets: buckets(pin_path, "TRANSLATIONS")?,
            of_translations: Sweep::default(),
            served,
            found,
        })
    }

    /// Runs for the life of the process.
    ///
    /// # Errors
    /// If there is no thread.
    pub(crate) fn spawn(mut self, health: &Health) -> Result<()> {
        let purpose = "looking for connections that ended without notice".into();
        health.spawn(Work { thread: "ended", purpose, period: PERIOD }, move || self.pass())
    }

    fn pass(&mut self) -> Result<()> {
        let now_ns = now_ns()?;
        let served = self.served.now();
        let old = |since: u64| now_ns.saturating_sub(since) > YOUNG_NS;
        let candidates = self.of_flows.candidates(&self.flow_buckets, |record: &FlowRecord| {
            let since = record.established_ns;
            (since != 0 && old(since)).then_some(since)
        })?;
        let mut count = 0;
        for (key, since, _) in self.of_flows.ended(&served, &candidates)? {
            let same = |Raw(record): Raw<FlowRecord>| record.established_ns == since;
            if self.flows.get(&Raw(key), 0).is_ok_and(same) {
                remove(&mut self.flows, &Raw(key)).context("the flow table cannot be written")?;
                count += 1;
            }
        }
        let candidates = self.of_translations.candidates(&self.translation_buckets, |entry| {
            (is_established(entry) && old(entry.seen_ns)).then_some(entry.seen_ns)
        })?;
        for (key, since, left) in self.of_translations.ended(&served, &candidates)? {
            self.translations.end(&key, since, (left == Left::TimeWait).then_some(now_ns))?;
        }
        if count > 0 {
            self.report(count);
        }
        Ok(())
    }

    fn report(&self, count: u64) {
        let others = others_of_sock_ops();
        if self.found.add(count, others)
            && let Some(sentence) = self.found.sentence()
        {
            tracing::warn!("{sentence}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_finding_names_other_software() {
        let found = UnnoticedEnds::default();
        assert_eq!(found.sentence(), None);
        assert!(found.add(2, vec!["rtt (id 7)".into()]));
        assert!(!found.add(3, vec!["rtt (id 7)".into(), "tune (id 9)".into()]));
        let sentence = found.sentence().unwrap();
        assert!(sentence.starts_with("5 connections ended without notice"), "{sentence}");
        assert!(sentence.contains("loaded now: rtt (id 7), tune (id 9)"), "{sentence}");
    }
}
