//! Reads the entries of hash tables whose types are known at run time only, by the bucket.
//!
//! It costs a system call for thousands of entries, and memory for as many. A table without entries costs one call.

use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::MapData;

use super::batch::{self, Buffers, Written};
use super::pins::map_directory;

/// Entries that are read at once.
const CHUNK: u32 = 4096;

/// What a hash table is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Bytes of a key.
    pub(super) key: usize,
    /// Bytes of a value.
    pub(super) value: usize,
    /// How many entries it can have.
    pub(super) most: u32,
}

/// Whole buckets of a table.
pub(super) struct Chunk<'a> {
    shape: Shape,
    keys: &'a [u8],
    values: &'a [u8],
}

impl<'a> Chunk<'a> {
    pub(super) const fn count(&self) -> usize {
        self.keys.len() / self.shape.key
    }

    /// Keys with their values.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let Shape { key, value, .. } = self.shape;
        self.keys.chunks_exact(key).zip(self.values.chunks_exact(value))
    }
}

/// Passes a whole table on. Others may change it meanwhile.
///
/// # Errors
/// If it cannot be read, or those of `take`.
pub(super) fn for_each_chunk(
    map: &MapData,
    shape: Shape,
    mut take: impl FnMut(Chunk) -> Result<()>,
) -> Result<()> {
    let (mut room, mut cursor) = (shape.most.clamp(1, CHUNK), Some(0));
    let (mut keys, mut values) = (Vec::<u8>::new(), Vec::<u8>::new());
    while let Some(from) = cursor {
        keys.clear();
        values.clear();
        keys.reserve_exact(room as usize * shape.key);
        values.reserve_exact(room as usize * shape.value);
        let buffers = Buffers { keys: keys.as_mut_ptr(), values: values.as_mut_ptr(), room };
        // SAFETY: the vectors have room for so many keys and values of the sizes that the kernel gives for this map.
        match unsafe { batch::read(map.fd().as_fd(), from, &buffers) } {
            // A bucket has more.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => room *= 2,
            Err(error) => return Err(error).context("a table cannot be read"),
            Ok(Written { count, next }) => {
                // SAFETY: the kernel has written so many of each, which is at most `room`.
                unsafe {
                    keys.set_len(count as usize * shape.key);
                    values.set_len(count as usize * shape.value);
                }
                take(Chunk { shape, keys: &keys, values: &values })?;
                cursor = next;
            }
        }
    }
    Ok(())
}

/// A hash table that is pinned.
#[derive(Debug)]
pub(crate) struct Table {
    map: MapData,
    name: &'static str,
    shape: Shape,
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
        let (key, value) = (info.key_size() as usize, info.value_size() as usize);
        Ok(Self { map, name, shape: Shape { key, value, most: info.max_entries() } })
    }

    /// The table's name.
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// How many entries it can have.
    pub(crate) fn most(&self) -> u64 {
        self.shape.most.into()
    }

    /// How many entries it has.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn count(&self) -> Result<u64> {
        let mut all = 0;
        let counted = for_each_chunk(&self.map, self.shape, |chunk| {
            all += chunk.count() as u64;
            Ok(())
        });
        counted.context(self.name)?;
        Ok(all)
    }
}
