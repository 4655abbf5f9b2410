//! Reads hash tables by the bucket, hundreds of entries to a system call.
//!
//! A walk from key to key starts again from the beginning when a key is gone. This one returns every entry that stays
//! in the table exactly once, even if others are added and removed meanwhile
//! ([`__htab_map_lookup_and_delete_batch`](https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/hashtab.c#L1681)).

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::{io, iter};

use aya::Pod;

pub use super::batch::Cursor;
use super::batch::{self, Buffers, Written};

/// Entries that are read at once where all are read.
const CHUNK: usize = 4096;

/// A hash table.
#[derive(Debug)]
pub(crate) struct Buckets<K, V> {
    map: OwnedFd,
    entries: PhantomData<(K, V)>,
}

/// Whole buckets.
#[derive(Debug)]
pub(crate) struct Chunk<K, V> {
    pub(crate) keys: Vec<K>,
    /// As many.
    pub(crate) values: Vec<V>,
    /// `None` at the table's end.
    pub(crate) next: Option<Cursor>,
}

impl<K: Pod, V: Pod> Buckets<K, V> {
    /// The table behind `map`. Its keys and values must have the sizes of the types.
    pub(crate) fn new(map: BorrowedFd) -> io::Result<Self> {
        Ok(Self { map: map.try_clone_to_owned()?, entries: PhantomData })
    }

    /// The entries of as many buckets from `from` on as `at_most` entries have; more, if the first bucket alone has.
    pub(crate) fn read(&self, from: Cursor, at_most: usize) -> io::Result<Chunk<K, V>> {
        let mut room = at_most.max(1);
        loop {
            match self.try_read(from, room) {
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => room *= 2,
                result => return result,
            }
        }
    }

    /// The whole table; ends after an error.
    pub(crate) fn entries(&self) -> impl Iterator<Item = io::Result<(K, V)>> {
        let mut cursor = Some(0);
        let chunks = iter::from_fn(move || {
            let chunk = self.read(cursor.take()?, CHUNK);
            cursor = chunk.as_ref().ok().and_then(|chunk| chunk.next);
            Some(chunk)
        });
        chunks.flat_map(|chunk| {
            let (entries, error) = match chunk {
                Ok(Chunk { keys, values, .. }) => (keys.into_iter().zip(values), None),
                Err(error) => (Vec::new().into_iter().zip(Vec::new()), Some(error)),
            };
            entries.map(Ok).chain(error.map(Err))
        })
    }

    fn try_read(&self, from: Cursor, room: usize) -> io::Result<Chunk<K, V>> {
        let mut keys = Vec::<K>::with_capacity(room);
        let mut values = Vec::<V>::with_capacity(room);
        let buffers = Buffers {
            keys: keys.as_mut_ptr().cast(),
            values: values.as_mut_ptr().cast(),
            room: u32::try_from(room).map_err(io::Error::other)?,
        };
        // SAFETY: the vectors have room for so many, and the types have the sizes of the table's keys and values.
        let Written { count, next } = unsafe { batch::read(self.map.as_fd(), from, &buffers)? };
        // SAFETY: the kernel has written so many of each, which any bytes are.
        unsafe {
            keys.set_len(count as usize);
            values.set_len(count as usize);
        }
        Ok(Chunk { keys, values, next })
    }
}
