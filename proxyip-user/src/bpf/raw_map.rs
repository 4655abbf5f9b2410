//! Reads and writes maps whose types are known at run time only.

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::maps::{MapData, MapType};
use aya::util::nr_cpus;
use aya_obj::generated::{
    bpf_attr, bpf_attr__bindgen_ty_2, bpf_attr__bindgen_ty_2__bindgen_ty_1, bpf_cmd,
};

use crate::bpf::entries::{Shape, for_each_chunk};
use crate::bpf::patience::patiently;

/// `BPF_ANY` and `BPF_NOEXIST` (`include/uapi/linux/bpf.h`).
const ANY: u64 = 0;
const NEW: u64 = 1;

/// A map.
#[derive(Debug)]
pub(super) struct RawMap {
    pub(super) data: MapData,
    pub(super) kind: MapType,
    /// Bytes of a key.
    pub(super) key: usize,
    /// Bytes of a value: of all CPUs together, if each has its own.
    pub(super) value: usize,
    pub(super) entries: u32,
}

impl RawMap {
    /// Opens a map by its pin.
    pub(super) fn open(pin: &Path) -> Result<Self> {
        let open = || Self::of(MapData::from_pin(pin)?);
        open().with_context(|| format!("{} cannot be opened", pin.display()))
    }

    /// Of a map that is open.
    pub(super) fn of(data: MapData) -> Result<Self> {
        let info = data.info()?;
        let kind = info.map_type()?;
        let value = info.value_size() as usize;
        let value = match kind {
            // The kernel rounds up to words (`bpf_map_value_size()`).
            MapType::PerCpuArray => value.next_multiple_of(8) * processors()?,
            _ => value,
        };
        Ok(Self { kind, key: info.key_size() as usize, value, entries: info.max_entries(), data })
    }

    /// Passes each entry on. Tables of hashes are read by the bucket, so that others may change them meanwhile.
    pub(super) fn for_each(&self, mut take: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        match self.kind {
            MapType::Hash | MapType::LruHash => self.for_each_of_hash(take),
            MapType::Array | MapType::PerCpuArray => (0..self.entries).try_for_each(|index| {
                let key = index.to_ne_bytes();
                take(&key, &self.get(&key)?)
            }),
            MapType::LpmTrie => {
                let mut last = None::<Vec<u8>>;
                while let Some(key) = self.key_after(last.as_deref())? {
                    take(&key, &self.get(&key)?)?;
                    last = Some(key);
                }
                Ok(())
            }
            kind => anyhow::bail!("maps of type {kind:?} cannot be read"),
        }
    }

    fn for_each_of_hash(&self, mut take: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        let shape = Shape { key: self.key, value: self.value, most: self.entries };
        for_each_chunk(&self.data, shape, |chunk| {
            chunk.entries().try_for_each(|(key, value)| take(key, value))
        })
    }

    /// The value of a key that is there.
    pub(super) fn get(&self, key: &[u8]) -> Result<Vec<u8>> {
        let mut value = vec![0; self.value];
        let room = value.as_mut_ptr().addr();
        self.call(bpf_cmd::BPF_MAP_LOOKUP_ELEM, (key, room), ANY)
            .context("an entry cannot be read")?;
        Ok(value)
    }

    /// Sets a value.
    pub(super) fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.update(key, value, ANY).context("an entry cannot be written")
    }

    /// Makes an entry, unless there is one already. Where an array has no entry, all is zero.
    pub(super) fn add(&self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.kind == MapType::Array {
            let is_empty = |value: &[u8]| value.iter().all(|byte| *byte == 0);
            return if is_empty(value) || !is_empty(&self.get(key)?) {
                Ok(())
            } else {
                self.set(key, value)
            };
        }
        match self.update(key, value, NEW) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            result => result.context("an entry cannot be written"),
        }
    }

    fn update(&self, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
        if value.len() != self.value {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let value = value.as_ptr().addr();
        patiently(|| self.call(bpf_cmd::BPF_MAP_UPDATE_ELEM, (key, value), flags))
    }

    /// The key behind this one in a trie; the first without one.
    fn key_after(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        let mut next = vec![0; self.key];
        let room = next.as_mut_ptr().addr();
        match self.call(bpf_cmd::BPF_MAP_GET_NEXT_KEY, (key.unwrap_or(&[]), room), ANY) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            result => result.context("a trie cannot be read").map(|()| Some(next)),
        }
    }

    /// One operation on a key, which is empty for none, and what is at an address.
    fn call(&self, command: bpf_cmd, (key, value): (&[u8], usize), flags: u64) -> io::Result<()> {
        if !key.is_empty() && key.len() != self.key {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: all zero is a value of this union of integers.
        let mut attributes: bpf_attr = unsafe { zeroed() };
        attributes.__bindgen_anon_2 = bpf_attr__bindgen_ty_2 {
            map_fd: self.data.fd().as_fd().as_raw_fd().cast_unsigned(),
            key: if key.is_empty() { 0 } else { key.as_ptr().addr() as u64 },
            __bindgen_anon_1: bpf_attr__bindgen_ty_2__bindgen_ty_1 { value: value as u64 },
            flags,
        };
        // SAFETY: the kernel reads a key, and reads or writes a value, or writes a key, of the map's sizes. The callers
        // have room for so many bytes at the address.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, command, &raw mut attributes, size_of::<bpf_attr>())
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// How many CPUs the kernel has room for.
fn processors() -> Result<usize> {
    let count = nr_cpus().map_err(|(file, error)| anyhow::anyhow!("{file}: {error}"))?;
    ensure!(count > 0, "the kernel has no CPUs");
    Ok(count)
}
