//! Counts the entries of hash tables whose types need not be known, by the bucket.
//!
//! It costs a system call for thousands of entries, and memory for as many. A table without entries costs one call.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::MapData;

use super::batch::{self, Buffers};
use super::pins::map_directory;

/// Entries that are read at once.
const CHUNK: u32 = 4096;

/// A hash table that is pinned.
#[derive(Debug)]
pub(crate) struct Table {
    map: MapData,
    name: &'static str,
    key_bytes: usize,
    value_bytes: usize,
    most: u32,
}

impl Table {
    /// Opens a table for reading.
    ///
    /// # Errors
    /// If it is not pinned there.
    pub(crate) fn open(pin_path: &Path, name: &'static str) -> Result<Self> {
        let pin = map_directory(pin_path).join(name);
        let context = || format!("{} cannot be opened", pin.display());
        let map = MapData::from_pin(&pin).with_context(context)?;
        let info = map.info().with_context(context)?;
        let (key_bytes, value_bytes) = (info.key_size() as usize, info.value_size() as usize);
        Ok(Self { map, name, key_bytes, value_bytes, most: info.max_entries() })
    }

    /// The table's name.
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// How many entries it can have.
    pub(crate) fn most(&self) -> u64 {
        self.most.into()
    }

    /// How many entries it has.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn count(&self) -> Result<u64> {
        let (mut all, mut room, mut cursor) = (0, self.most.clamp(1, CHUNK), Some(0));
        while let Some(from) = cursor {
            match self.count_some(from, room) {
                // A bucket has more.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => room *= 2,
                Err(error) => {
                    return Err(error).with_context(|| format!("{} cannot be read", self.name));
                }
                Ok((count, next)) => {
                    all += u64::from(count);
                    cursor = next;
                }
            }
        }
        Ok(all)
    }

    /// Counts the buckets from one on that have at most so many entries; then where to go on.
    fn count_some(&self, from: u32, room: u32) -> io::Result<(u32, Option<u32>)> {
        let mut keys = Vec::<u8>::with_capacity(room as usize * self.key_bytes);
        let mut values = Vec::<u8>::with_capacity(room as usize * self.value_bytes);
        let buffers = Buffers { keys: keys.as_mut_ptr(), values: values.as_mut_ptr(), room };
        // SAFETY: the vectors have room for so many keys and values of the sizes that the kernel gives for this map.
        let read = unsafe { batch::read(self.map.fd().as_fd(), from, &buffers)? };
        Ok((read.count, read.next))
    }
}
