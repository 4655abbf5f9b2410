//! Removes entries of translated connections that are over.
//!
//! An entry outlives its socket, because the `TIME_WAIT` that the socket may leave behind still needs it. The kernel
//! programs see the end of the socket. They do not see the end of `TIME_WAIT`: only a timeout can end the entry.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData, MapError};
use proxyip_common::flow::{FlowKey, Translation};

use crate::bpf::buckets::Buckets;
use crate::bpf::pod::Raw;
use crate::clock::now_ns;
use crate::host::served::Served;
use crate::supervise::{Health, Work};
use crate::tables::maps::{buckets, is_missing, open_owned, remove};
use crate::tables::owners::claim;
use crate::tables::ports::Ports;

const UNREADABLE: &str = "the translated connections cannot be read";
const UNWRITABLE: &str = "the translated connections cannot be written";

type Table = HashMap<MapData, Raw<FlowKey>, Raw<Translation>>;

/// How often the table is looked through.
const PERIOD: Duration = Duration::from_secs(10);
/// `TCP_TIMEWAIT_LEN` (include/net/tcp.h).
const TIME_WAIT: Duration = Duration::from_mins(1);
/// For timers of the kernel that fire late.
const MARGIN: Duration = Duration::from_secs(10);
/// The header has been read. No kernel tries to establish the connection for longer than this.
const OPENING: Duration = Duration::from_mins(5);

/// Ends translations whose connections have ended unnoticed.
pub(super) struct Translations(Table);

impl Translations {
    pub(super) fn open(pin_path: &Path) -> Result<Self> {
        open_owned(pin_path, &claim!("TRANSLATIONS")).map(Self)
    }

    /// Does what the kernel program does at the end of a connection. `since` tells the connection from a later one of
    /// the 4-tuple. With `time_wait`, the time now, something is left that still needs the entry.
    pub(super) fn end(&mut self, key: &FlowKey, since: u64, time_wait: Option<u64>) -> Result<()> {
        /// Only if there is an entry (`BPF_EXIST`).
        const EXISTING: u64 = 2;
        let there = self.0.get(&Raw(*key), 0).ok().map(|Raw(translation)| translation);
        let there = there.filter(|there| is_established(there) && there.seen_ns == since);
        match (there, time_wait) {
            (None, _) => Ok(()),
            (Some(_), None) => remove(&mut self.0, &Raw(*key)).context(UNWRITABLE),
            (Some(there), Some(seen_ns)) => {
                let closed = Translation { state: Translation::CLOSED, seen_ns, ..there };
                match self.0.insert(Raw(*key), Raw(closed), EXISTING) {
                    Err(error) if !is_missing(&error) => Err(error).context(UNWRITABLE),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// Whether the entry is one of a socket that lives, by what the kernel programs have noticed.
pub(super) fn is_established(translation: &Translation) -> bool {
    matches!(translation.state, Translation::ESTABLISHED | Translation::RESET)
        && translation.flags & Translation::SUPERSEDED == 0
}

/// Removes entries that are over, and lets go of retired ports.
pub(crate) struct Collector {
    table: Table,
    buckets: Buckets<Raw<FlowKey>, Raw<Translation>>,
    ports: Ports,
    served: Served,
}

impl Collector {
    pub(crate) fn new(pin_path: &Path, ports: Ports, served: Served) -> Result<Self> {
        let table = open_owned(pin_path, &claim!("TRANSLATIONS"))?;
        let buckets = buckets(pin_path, "TRANSLATIONS")?;
        Ok(Self { table, buckets, ports, served })
    }

    /// Runs for the life of the process, on its own thread because the table may be large.
    ///
    /// # Errors
    /// If there is no thread.
    pub(crate) fn spawn(mut self, health: &Health) -> Result<()> {
        let purpose = "removing translated connections that have ended".into();
        let work = Work { thread: "translations", purpose, period: PERIOD };
        health.spawn(work, move || self.pass())
    }

    fn pass(&mut self) -> Result<()> {
        // Those retired meanwhile may have had connections that are not seen now.
        let retired = self.ports.retired();
        // What is left of a socket in FIN_WAIT2 waits for the peer's FIN, and then another TIME_WAIT.
        let fin_timeout = self.served.now().iter().map(|one| one.seen.fin_timeout()).max();
        let closed = TIME_WAIT + fin_timeout.unwrap_or_default() + MARGIN;
        let ages = Ages { now_ns: now_ns()?, closed };
        let (mut over, mut kept) = (Vec::new(), BTreeSet::new());
        for entry in self.buckets.entries() {
            let (Raw(key), Raw(translation)) = entry.context(UNREADABLE)?;
            if ages.is_over(&translation) {
                over.push(key);
            } else {
                // Closed or not: a new connection of the 4-tuple must be seen, or it would be translated too.
                kept.insert(key.local.0.port());
            }
        }
        for key in over {
            self.remove(&key, &ages)?;
        }
        for port in self.ports.release(retired.difference(&kept).copied())? {
            tracing::debug!("the last translated connection to port {port} has ended");
        }
        Ok(())
    }

    /// Removes an entry, unless its 4-tuple has a new connection meanwhile.
    fn remove(&mut self, key: &FlowKey, ages: &Ages) -> Result<()> {
        match self.table.get(&Raw(*key), 0) {
            Ok(Raw(translation)) if ages.is_over(&translation) => {}
            Ok(_) | Err(MapError::KeyNotFound) => return Ok(()),
            Err(error) => {
                return Err(error).context(UNREADABLE);
            }
        }
        remove(&mut self.table, &Raw(*key)).context(UNWRITABLE)
    }
}

/// When entries are over.
struct Ages {
    now_ns: u64,
    /// How long after its last segment a closed connection needs its entry.
    closed: Duration,
}

impl Ages {
    fn is_over(&self, translation: &Translation) -> bool {
        let age = Duration::from_nanos(self.now_ns.saturating_sub(translation.seen_ns));
        match translation.state {
            Translation::CLOSED => age > self.closed,
            Translation::OPENING => age > OPENING,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_over_by_state_and_age() {
        const SECOND: u64 = 1_000_000_000;
        let ages = Ages { now_ns: 10_000 * SECOND, closed: Duration::from_secs(130) };
        for (state, age, over) in [
            (Translation::CLOSED, 129, false),
            (Translation::CLOSED, 131, true),
            (Translation::OPENING, 299, false),
            (Translation::OPENING, 301, true),
            (Translation::ESTABLISHED, 9_999, false),
        ] {
            let seen_ns = ages.now_ns - age * SECOND;
            let translation = Translation { seen_ns, isn: 0, shift: 28, state, flags: 0 };
            assert_eq!(ages.is_over(&translation), over, "state {state} after {age} s");
        }
    }

    #[test]
    fn an_entry_newer_than_the_look_at_the_clock_is_not_over() {
        let ages = Ages { now_ns: 1, closed: Duration::from_secs(130) };
        let translation = Translation {
            seen_ns: u64::MAX,
            isn: 0,
            shift: 0,
            state: Translation::CLOSED,
            flags: 0,
        };
        assert!(!ages.is_over(&translation));
    }
}
