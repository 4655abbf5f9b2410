//! How full the tables are that can fill up.
//!
//! The agent knows how full the tables are that it writes. It counts the tables that the kernel programs write, but spends
//! a tenth of a processor on that at most: see [`Tally`].

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use super::tally::Tally;
use crate::bpf::entries::Table;

/// The hash tables that are counted.
const COUNTED: [&str; 7] = [
    "TRANSLATIONS",
    "HANDSHAKES",
    "PARTIAL_HEADERS",
    "HEADER_BYTES",
    "DROPPED",
    "DRAINED",
    "FALLBACKS",
];

/// How full one table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// The table's name.
    pub map: &'static str,
    /// Entries that it has.
    pub entries: u64,
    /// Entries that it can have.
    pub most: u64,
}

/// How many entries a table has; whoever writes the table keeps it current.
#[derive(Clone, Debug, Default)]
pub struct Count(Arc<AtomicU64>);

impl Count {
    /// Notes how many there are.
    pub(crate) fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove_one(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn number(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A table whose writer knows how full it is.
#[derive(Clone, Debug)]
pub struct Level {
    /// The table's name.
    pub(crate) map: &'static str,
    /// Entries that it has.
    pub(crate) count: Count,
    /// Entries that it can have.
    pub(crate) most: u32,
}

/// The tables.
#[derive(Clone, Debug, Default)]
pub struct Fills {
    counted: Arc<[(Table, Tally)]>,
    levels: Arc<[Level]>,
}

impl Fills {
    /// Opens the tables that are counted, beside those whose writers count.
    pub(crate) fn open(pin_path: &Path, levels: Vec<Level>) -> Result<Self> {
        let open = |name: &&'static str| Ok((Table::open(pin_path, name)?, Tally::default()));
        let counted: Vec<_> = COUNTED.iter().map(open).collect::<Result<_>>()?;
        Ok(Self { counted: counted.into(), levels: levels.into() })
    }

    /// How full each is.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn read(&self) -> Result<Vec<Fill>> {
        let written = self.levels.iter().map(|Level { map, count, most }| {
            Ok(Fill { map, entries: count.number(), most: (*most).into() })
        });
        let counted = self.counted.iter().map(|(table, tally)| {
            let entries = tally.get(|| table.count())?;
            Ok(Fill { map: table.name(), entries, most: table.most() })
        });
        written.chain(counted).collect()
    }
}
