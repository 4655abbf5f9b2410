//! Takes over what a version of proxyip with another layout knows: of connections, and what commands have set.
//!
//! A map that has the same fields in both versions is pinned for this one too, so its programs and those before share it.
//! The entries of other maps are converted, field by field. Entries that programs write change until none of the other
//! version's programs is attached. So these are copied last, while nothing comes through to guarded ports.
//!
//! Each step may be the last one, or come again: the pins of the other version go away at the very end, and an entry that
//! is there already is not written again.

mod conversion;
mod plan;
pub(crate) mod types;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aya::maps::MapType;
use aya_obj::Object;

use self::plan::{Copied, Plan};
use super::btf::Btf;
use super::pins::{self, map_directory};
use super::raw_map::RawMap;
use super::{object, other_layouts};
use crate::steps::step;

/// Which tables nobody need look into. Another layout's programs may have written its words as a whole, so one says of no table
/// that it has never been used.
const IN_USE: &str = "IN_USE";
/// Everything of a word.
const ALL_IN_USE: [u8; 4] = [1; 4];

/// Counters that keep their places when others are added behind them.
const COUNTERS: [&str; 3] = ["COUNTERS", "DROPS", "LEFT_TO_KERNEL"];

/// The maps that programs in rules of iptables read. A rule keeps the program that it was made with.
const OF_RULES: [&str; 4] = ["FLOWS", "CLIENTS", "SETS", "NAMESPACES"];

/// So many maps are one step: tests kill an agent at each.
const STRIDE: usize = 8;

/// What another version has left, and how it is taken over.
#[derive(Debug)]
pub(crate) struct Takeover {
    pin_path: PathBuf,
    sources: Vec<Source>,
    /// This version's programs are attached already: an agent before this one was interrupted.
    interrupted: bool,
}

/// The maps of one layout.
#[derive(Debug)]
struct Source {
    directory: PathBuf,
    /// Those whose entries are copied.
    copied: Vec<Copied>,
}

impl Takeover {
    /// Looks what other versions have left below `pin_path`; `None` if they have left nothing. Pins for this version what
    /// both can use.
    ///
    /// # Errors
    /// If something cannot be taken over. Then nothing has been changed for the other version.
    pub(crate) fn begin(pin_path: &Path) -> Result<Option<Self>> {
        let directories = other_layouts::directories(pin_path)?;
        if directories.is_empty() {
            return Ok(None);
        }
        let is_attached = |maps: &Path| other_layouts::is_in_use(pin_path, maps);
        let mut order = Vec::new();
        // The newest first, behind what is attached.
        for directory in directories.into_iter().rev() {
            order.push((is_attached(&directory)?, directory));
        }
        order.sort_by_key(|(attached, _)| !attached);
        let own = map_directory(pin_path);
        let interrupted = is_attached(&own)?;
        let object = object::object(None)?;
        let object = Object::parse(&object).context("the kernel object cannot be read")?;
        let types = object.btf.as_ref().context("the kernel object has no BTF")?;
        let types = types.to_bytes();
        let types = Btf::parse(&types)?;
        let look = |directory: &Path| {
            let plan = Plan { object: &object, types: &types, directory };
            plan.make().with_context(|| refusal(pin_path, directory))
        };
        let planned = order.iter().map(|(_, directory)| look(directory));
        let planned = planned.collect::<Result<Vec<_>>>()?;
        if !interrupted {
            remove(&own)?;
        }
        let mut sources = Vec::new();
        for ((_, directory), (copied, shared)) in order.into_iter().zip(planned) {
            share(&directory, &own, &shared)?;
            sources.push(Source { directory, copied });
        }
        let in_use = own.join(IN_USE);
        if in_use.exists() {
            RawMap::open(&in_use)?.set(&0_u32.to_ne_bytes(), &ALL_IN_USE)?;
        }
        Ok(Some(Self { pin_path: pin_path.into(), sources, interrupted }))
    }

    /// Copies what agents write, into this version's maps, which exist by now.
    ///
    /// # Errors
    /// If a map cannot be read or written.
    pub(crate) fn copy_settings(&self) -> Result<()> {
        self.for_each(|copied, before, now| {
            let is_array = now.kind == MapType::Array;
            if copied.is_live() || now.kind == MapType::PerCpuArray || is_array && self.interrupted
            {
                return Ok(());
            }
            before.for_each(|key, value| {
                let (key, value) = copied.convert(key, value);
                if !is_array {
                    return now.add(&key, &value);
                }
                // Only a list that became shorter has an entry less.
                let index = key.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
                if index.is_some_and(|index| index < now.entries) {
                    now.set(&key, &value)?;
                }
                Ok(())
            })
        })
    }

    /// Copies what programs write, while they do not: none of the other version's is attached any more, and nothing comes
    /// through. Returns how many entries were copied.
    ///
    /// # Errors
    /// If a map cannot be read or written.
    pub(crate) fn copy_connections(&self) -> Result<u64> {
        let mut entries = 0;
        self.for_each(|copied, before, now| {
            if !copied.is_live() {
                return Ok(());
            }
            before.for_each(|key, value| {
                // An array has all its places.
                if now.kind == MapType::Array && value.iter().all(|byte| *byte == 0) {
                    return Ok(());
                }
                entries += 1;
                let (key, value) = copied.convert(key, value);
                now.add(&key, &value)
            })
        })?;
        Ok(entries)
    }

    /// Removes the other version's pins, and adds its counters to this one's.
    ///
    /// # Errors
    /// If a map cannot be read or written, or a pin cannot be removed.
    pub(crate) fn finish(self) -> Result<()> {
        self.for_each(|copied, before, now| {
            if COUNTERS.contains(&copied.name) { add_counters(before, now) } else { Ok(()) }
        })?;
        self.warn_of_rules()?;
        for Source { directory, .. } in &self.sources {
            // Programs that could not be replaced go on guarding: the next start tries it again.
            if other_layouts::is_in_use(&self.pin_path, directory)? {
                tracing::warn!("programs are still attached that use {}", directory.display());
            } else {
                remove(directory)?;
            }
        }
        Ok(())
    }

    fn for_each(
        &self,
        mut take: impl FnMut(&Copied, &RawMap, &RawMap) -> Result<()>,
    ) -> Result<()> {
        let own = map_directory(&self.pin_path);
        for Source { directory, copied } in &self.sources {
            for (index, one) in copied.iter().enumerate() {
                if index.is_multiple_of(STRIDE) {
                    step();
                }
                let before = RawMap::open(&directory.join(one.name))?;
                let now = RawMap::open(&own.join(one.name))?;
                take(one, &before, &now).with_context(|| {
                    format!("{} of {} cannot be taken over", one.name, directory.display())
                })?;
            }
        }
        Ok(())
    }

    /// Rules of iptables keep their programs, which read the other version's maps.
    fn warn_of_rules(&self) -> Result<()> {
        let mut copied = self.sources.iter().flat_map(|source| &source.copied);
        let changes = copied.any(|one| OF_RULES.contains(&one.name));
        if changes && !pins::list(&pins::match_directory(&self.pin_path))?.is_empty() {
            tracing::warn!(
                "rules of iptables that use named sets still ask the version before: load these rules again"
            );
        }
        Ok(())
    }
}

/// Pins maps of one directory in another one too.
fn share(from: &Path, to: &Path, names: &[&str]) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("{} cannot be made", to.display()))?;
    for name in names {
        let pin = to.join(name);
        if !pin.exists() {
            let map = RawMap::open(&from.join(name))?;
            map.data.pin(&pin).with_context(|| format!("{} cannot be pinned", pin.display()))?;
        }
    }
    Ok(())
}

/// Adds counters of all CPUs to others, and leaves nothing to be added again.
fn add_counters(before: &RawMap, now: &RawMap) -> Result<()> {
    before.for_each(|key, value| {
        let index = key.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
        if index.is_none_or(|index| index >= now.entries) {
            return Ok(());
        }
        let mut sum = now.get(key)?;
        for (sum, count) in sum.chunks_exact_mut(8).zip(value.chunks_exact(8)) {
            let number = |bytes: &[u8]| bytes.first_chunk().map_or(0, |it| u64::from_ne_bytes(*it));
            sum.copy_from_slice(&(number(sum) + number(count)).to_ne_bytes());
        }
        now.set(key, &sum)?;
        before.set(key, &vec![0; value.len()])
    })
}

/// Removes a directory with maps, if it is there.
fn remove(directory: &Path) -> Result<()> {
    for (index, pin) in pins::list(directory)?.into_iter().enumerate() {
        if index.is_multiple_of(STRIDE) {
            step();
        }
        pins::discard(&pin)?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", directory.display()))
        }
        _ => Ok(()),
    }
}

fn refusal(pin_path: &Path, directory: &Path) -> String {
    let layout = |directory: &Path| pins::name(directory).replace(pins::MAPS, "layout ");
    format!(
        "a version of proxyip with {} has attached its programs, and this one with {} cannot take over what they know. \
         Nothing has been changed, and they go on. Rules of `proxyip acl` and drained ports will be lost: write down what \
         the other version says of them while it runs. Then stop it; run `proxyip detach --pin-path {}`, of either version, \
         which lets translated connections end; then start this one",
        layout(directory),
        layout(&map_directory(pin_path)),
        pin_path.display()
    )
}
