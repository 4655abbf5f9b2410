//! Which maps of another layout are shared with it, and how the others are copied.

use std::path::Path;

use anyhow::{Context, Result, bail};
use aya_obj::Object;

use super::conversion::{Conversion, Conversions};
use super::types::{self, Fields};
use crate::bpf::btf::Btf;
use crate::bpf::definition::Definition;
use crate::bpf::loader::{PINNED, SIZED};
use crate::bpf::pins;
use crate::bpf::raw_map::RawMap;

/// Tables of connections. The programs write them, so they are copied when no other version's programs are attached.
const LIVE: [&str; 8] = [
    "FLOWS",
    "HANDSHAKES",
    "REDIRECTED",
    "ENDED_FLOWS",
    "TRANSLATIONS",
    "PARTIAL_HEADERS",
    "HEADER_BYTES",
    "DROPPED",
];

/// What cannot be copied: sockets keep it, or the programs write it and the agent reads it once. Nor need it be, where the
/// programs would only look in vain.
const SHARED_ONLY: [&str; 3] = ["SOCKETS", "EVENTS", "IN_USE"];

/// What only one version's programs may read, because the other must do nothing meanwhile.
const NEVER_SHARED: &str = "PORTS";

/// What belongs to one version's programs, and says nothing.
const OF_PROGRAMS: [&str; 5] =
    ["PLACES", "PROGRAMS", "XDP_PROGRAMS", "NEIGHBOURS", "FOREIGN_ANSWERS"];

/// A map whose entries are copied.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) name: &'static str,
    conversions: Conversions,
}

impl Copied {
    /// The programs write it.
    pub(super) fn is_live(&self) -> bool {
        LIVE.contains(&self.name)
    }

    /// An entry, as this version has it.
    pub(super) fn convert(&self, key: &[u8], value: &[u8]) -> (Vec<u8>, Vec<u8>) {
        (self.conversions.key.convert(key), self.conversions.value.convert(value))
    }
}

/// Which maps of a layout can be shared, and how the others are copied.
pub(super) struct Plan<'a> {
    pub(super) object: &'a Object,
    pub(super) types: &'a Btf<'a>,
    pub(super) directory: &'a Path,
}

impl Plan<'_> {
    /// What is copied, and the names of what is shared.
    ///
    /// # Errors
    /// If a map can be neither.
    pub(super) fn make(&self) -> Result<(Vec<Copied>, Vec<&'static str>)> {
        let (mut copied, mut shared) = (Vec::new(), Vec::new());
        let is_there =
            |name: &&str| !OF_PROGRAMS.contains(name) && self.directory.join(name).exists();
        for name in PINNED.iter().copied().filter(is_there) {
            let how = self.how(name).with_context(|| format!("{name} cannot be taken over"))?;
            match how {
                How::Share => shared.push(name),
                How::Copy(conversions) => copied.push(Copied { name, conversions }),
                How::Leave => {}
            }
        }
        leave_together(&mut shared);
        Ok((copied, shared))
    }

    fn how(&self, name: &'static str) -> Result<How> {
        let pin = self.directory.join(name);
        let there = Definition::of_pin(&pin)?;
        let map = self.object.maps.get(name).context("the kernel object lacks it")?;
        let wanted = Definition::of_object(map)?;
        let wanted = if SIZED.contains(&name) { wanted.of_any_size() } else { wanted };
        let (sizes, now) = (wanted.sizes(), types::of_object(self.types, name)?);
        let before = types::of_map(&RawMap::open(&pin)?.data)?;
        let same_definition = there.differs(&wanted).is_none();
        let same = same_definition && before.as_ref().is_none_or(|before| *before == now);
        if same && name != NEVER_SHARED && !(pins::is_test_layout() && can_be_copied(name)) {
            return Ok(How::Share);
        }
        if there.kind() != wanted.kind() {
            bail!("it is of type {:?} there and {:?} here", there.kind(), wanted.kind());
        }
        if same {
            return Ok(How::Copy(Conversions {
                key: Conversion::same(sizes.0),
                value: Conversion::same(sizes.1),
            }));
        }
        how_to_copy(name, before.as_ref(), (&now, sizes))
    }
}

/// How one map is taken over.
enum How {
    /// Both versions use the same one.
    Share,
    Copy(Conversions),
    /// It begins anew.
    Leave,
}

fn can_be_copied(name: &str) -> bool {
    !SHARED_ONLY.contains(&name) && !begins_anew(name)
}

/// Counters by listener, whose places move when one is added. What the next refused source writes again. What sockets keep and
/// a table has too.
fn begins_anew(name: &str) -> bool {
    const ANEW: [&str; 4] =
        ["LISTENER_COUNTERS", "REFUSED_BY_AGENT", "UNTRUSTED_SOURCES", "TRANSLATED_SOCKETS"];
    ANEW.contains(&name)
}

/// Metrics are the sum of the two: beside counters that begin anew, the agent's own would make it rise from nothing.
fn leave_together(shared: &mut Vec<&'static str>) {
    const TOGETHER: [&str; 2] = ["LISTENER_COUNTERS", "REFUSED_BY_AGENT"];
    if !TOGETHER.iter().all(|name| shared.contains(name)) {
        shared.retain(|name| !TOGETHER.contains(name));
    }
}

/// How a map is copied that is not the same in both versions.
fn how_to_copy(
    name: &'static str,
    before: Option<&Fields>,
    (now, sizes): (&Fields, (usize, usize)),
) -> Result<How> {
    if begins_anew(name) {
        return Ok(How::Leave);
    }
    if SHARED_ONLY.contains(&name) {
        bail!("it is another one, and cannot be copied");
    }
    let before = before.context("it is another one, and the kernel does not know its fields")?;
    Ok(How::Copy(Conversions::between(before, now, sizes)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_are_added_up_begin_anew_together() {
        for (shared, left) in [
            (vec!["PORTS", "LISTENER_COUNTERS", "REFUSED_BY_AGENT"], 3),
            (vec!["PORTS", "REFUSED_BY_AGENT"], 1),
            (vec!["PORTS", "LISTENER_COUNTERS"], 1),
            (vec!["PORTS"], 1),
        ] {
            let mut kept = shared.clone();
            leave_together(&mut kept);
            assert_eq!(kept, shared[..left]);
        }
    }
}
