//! What a map is, for the kernel object and for the kernel.
//!
//! The library adopts a pinned map without a look at it. Then the kernel would write values of one size into memory of
//! another, or a program would read one type as another.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use aya::maps::{MapInfo, MapType};
use aya_obj::generated::bpf_map_type;
use aya_obj::{Map, Object};

/// A map's kind and sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Definition {
    kind: MapType,
    /// Bytes of a key.
    key: u32,
    /// Bytes of a value.
    value: u32,
    flags: u32,
    /// `None` if the configuration or the host chooses.
    entries: Option<u32>,
}

impl Definition {
    /// Of a map of the kernel object.
    pub(super) fn of_object(map: &Map) -> Result<Self> {
        let kind = bpf_map_type::try_from(map.map_type());
        let kind = kind.ok().and_then(|kind| MapType::try_from(kind).ok());
        Ok(Self {
            kind: kind.with_context(|| format!("{} is no type of map", map.map_type()))?,
            key: map.key_size(),
            value: map.value_size(),
            flags: map.map_flags(),
            entries: Some(map.max_entries()),
        })
    }

    /// Of a map that is pinned there.
    pub(super) fn of_pin(pin: &Path) -> Result<Self> {
        let info =
            MapInfo::from_pin(pin).with_context(|| format!("{} cannot be read", pin.display()))?;
        Ok(Self {
            kind: info.map_type()?,
            key: info.key_size(),
            value: info.value_size(),
            flags: info.map_flags(),
            entries: Some(info.max_entries()),
        })
    }

    /// The same with any number of entries.
    pub(super) const fn of_any_size(self) -> Self {
        Self { entries: None, ..self }
    }

    /// What kind of map it is.
    pub(super) const fn kind(&self) -> MapType {
        self.kind
    }

    /// Bytes of a key and of a value.
    pub(super) const fn sizes(&self) -> (usize, usize) {
        (self.key as usize, self.value as usize)
    }

    /// In what `self` differs from `wanted`, for people; `None` if it can be used in its place.
    pub(super) fn differs(&self, wanted: &Self) -> Option<String> {
        let mut difference = String::new();
        if self.kind != wanted.kind {
            write!(difference, ", is of type {:?} instead of {:?}", self.kind, wanted.kind).ok();
        }
        let numbers = [
            ("has keys of", Some(self.key), Some(wanted.key), "bytes"),
            ("has values of", Some(self.value), Some(wanted.value), "bytes"),
            ("has", self.entries, wanted.entries, "entries"),
        ];
        for (has, there, wanted, unit) in numbers {
            if let (Some(there), Some(wanted)) = (there, wanted)
                && there != wanted
            {
                write!(difference, ", {has} {there} {unit} instead of {wanted}").ok();
            }
        }
        if self.flags != wanted.flags {
            let (there, wanted) = (self.flags, wanted.flags);
            write!(difference, ", has the flags {there:#x} instead of {wanted:#x}").ok();
        }
        (!difference.is_empty()).then(|| difference.trim_start_matches(", ").into())
    }
}

/// Makes sure that the maps that are pinned in `directory` are those of the object. Maps called `sized` may have any
/// number of entries. Changes nothing.
///
/// # Errors
/// Names the map, what differs, and what to do.
pub(crate) fn compare(
    directory: &Path,
    object: &Object,
    names: &[&str],
    sized: &[&str],
) -> Result<()> {
    for name in names {
        let pin = directory.join(name);
        if !pin.exists() {
            continue;
        }
        let map = object.maps.get(*name);
        let map = map.with_context(|| format!("the kernel object has no map {name}"))?;
        let wanted = Definition::of_object(map)?;
        let wanted = if sized.contains(name) { wanted.of_any_size() } else { wanted };
        if let Some(difference) = Definition::of_pin(&pin)?.differs(&wanted) {
            bail!("{}", sentence(&pin, &difference));
        }
    }
    Ok(())
}

fn sentence(pin: &Path, difference: &str) -> String {
    format!(
        "{} is not the map of this version of proxyip: it {difference}. Nothing has been changed. Another build with the \
         same layout number has made it, or other software has: run `proxyip detach` of that build, or remove the pin if it \
         is not proxyip's, and then start again",
        pin.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Definition =
        Definition { kind: MapType::Hash, key: 48, value: 16, flags: 1, entries: Some(4) };

    #[test]
    fn each_difference_is_named() {
        assert_eq!(WANTED.differs(&WANTED), None);
        for (there, difference) in [
            (Definition { kind: MapType::Array, ..WANTED }, "is of type Array instead of Hash"),
            (Definition { key: 40, ..WANTED }, "has keys of 40 bytes instead of 48"),
            (Definition { value: 24, ..WANTED }, "has values of 24 bytes instead of 16"),
            (Definition { flags: 0, ..WANTED }, "has the flags 0x0 instead of 0x1"),
            (Definition { entries: Some(5), ..WANTED }, "has 5 entries instead of 4"),
            (
                Definition { key: 1, value: 2, ..WANTED },
                "has keys of 1 bytes instead of 48, has values of 2 bytes instead of 16",
            ),
        ] {
            assert_eq!(there.differs(&WANTED).as_deref(), Some(difference));
        }
    }

    #[test]
    fn a_number_of_entries_that_is_chosen_is_not_compared() {
        let chosen = Definition { entries: None, ..WANTED };
        assert_eq!(WANTED.differs(&chosen), None);
        assert!(Definition { value: 8, ..WANTED }.differs(&chosen).is_some());
    }
}
