//! How full the tables are that can fill up.
//!
//! The agent knows how many networks it has written. It counts the tables that the kernel programs write, but spends
//! a tenth of a processor on that at most: see [`Tally`].

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use proxyip_common::settings::MAX_NETWORKS;

use super::tally::Tally;
use crate::bpf::entries::Table;

/// The hash tables that are counted.
const COUNTED: [&str; 5] =
    ["TRANSLATIONS", "HANDSHAKES", "PARTIAL_HEADERS", "HEADER_BYTES", "DROPPED"];

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

/// How many networks a trie has; whoever writes the trie keeps it current.
#[derive(Clone, Debug, Default)]
pub struct Networks(Arc<AtomicU64>);

impl Networks {
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

/// The tables.
#[derive(Clone, Debug, Default)]
pub struct Fills {
    counted: Arc<[(Table, Tally)]>,
    tries: Arc<[(&'static str, Networks)]>,
}

impl Fills {
    /// Opens the tables that are counted, beside the tries.
    pub(crate) fn open(pin_path: &Path, tries: [(&'static str, Networks); 2]) -> Result<Self> {
        let open = |name: &&'static str| Ok((Table::open(pin_path, name)?, Tally::default()));
        let counted: Vec<_> = COUNTED.iter().map(open).collect::<Result<_>>()?;
        Ok(Self { counted: counted.into(), tries: Arc::new(tries) })
    }

    /// How full each is.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn read(&self) -> Result<Vec<Fill>> {
        let tries = self.tries.iter().map(|(map, networks)| {
            Ok(Fill { map, entries: networks.number(), most: MAX_NETWORKS.into() })
        });
        let counted = self.counted.iter().map(|(table, tally)| {
            let entries = tally.get(|| table.count())?;
            Ok(Fill { map: table.name(), entries, most: table.most() })
        });
        tries.chain(counted).collect()
    }
}
