//! What one layout writes, as another reads it: fields keep their names and change their places.
//!
//! A field that the other layout lacks is left out, a new one is zero. So a field whose meaning changes needs a new name.

use anyhow::{Result, bail, ensure};

use super::types::{Field, Fields};

/// Bytes that are copied from one place to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    from: usize,
    to: usize,
    length: usize,
}

/// How bytes of one layout become those of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conversion {
    parts: Vec<Part>,
    /// How many bytes the result has.
    size: usize,
}

impl Conversion {
    /// Of what has the same fields at the same places.
    pub(super) fn same(size: usize) -> Self {
        Self { parts: vec![Part { from: 0, to: 0, length: size }], size }
    }

    /// Of `before` to `now`, which has `size` bytes.
    fn between(before: &[Field], now: &[Field], size: usize) -> Result<Self> {
        let mut parts = Vec::new();
        for field in now {
            let Some(old) = before.iter().find(|old| old.name == field.name) else { continue };
            if old.kind != field.kind || old.size != field.size {
                bail!("{} is {} there and {} here", named(field), old.kind, field.kind);
            }
            parts.push(Part { from: old.at, to: field.at, length: field.size });
        }
        Ok(Self { parts, size })
    }

    /// The bytes as the other layout has them. `before` has all fields of its own.
    pub(super) fn convert(&self, before: &[u8]) -> Vec<u8> {
        let mut now = vec![0; self.size];
        for Part { from, to, length } in &self.parts {
            now[*to..to + length].copy_from_slice(&before[*from..from + length]);
        }
        now
    }
}

/// The conversions of a map's keys and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conversions {
    pub(super) key: Conversion,
    pub(super) value: Conversion,
}

impl Conversions {
    /// Of a map of one layout to that of another, whose keys and values have so many bytes.
    ///
    /// # Errors
    /// Names a field that cannot be converted. Keys must have the same fields, because a new one would have no value.
    pub(super) fn between(before: &Fields, now: &Fields, sizes: (usize, usize)) -> Result<Self> {
        let names = |fields: &[Field]| {
            let mut names: Vec<_> = fields.iter().map(|field| field.name.clone()).collect();
            names.sort();
            names
        };
        ensure!(names(&before.key) == names(&now.key), "its keys have other fields");
        Ok(Self {
            key: Conversion::between(&before.key, &now.key, sizes.0)?,
            value: Conversion::between(&before.value, &now.value, sizes.1)?,
        })
    }
}

fn named(field: &Field) -> &str {
    if field.name.is_empty() { "its value" } else { &field.name }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(at: usize, name: &str, kind: &str, size: usize) -> Field {
        Field { at, name: name.into(), kind: kind.into(), size }
    }

    fn key() -> Vec<Field> {
        vec![field(0, "", "u32", 4)]
    }

    fn between(before: Vec<Field>, now: Vec<Field>, size: usize) -> Result<Conversions> {
        let before = Fields { key: key(), value: before };
        Conversions::between(&before, &Fields { key: key(), value: now }, (4, size))
    }

    #[test]
    fn fields_move_go_and_come() {
        let before = vec![
            field(0, "isn", "u32", 4),
            field(4, "gone", "u16", 2),
            field(6, "state", "u8", 1),
            field(7, "flags", "u8", 1),
        ];
        let now = vec![
            field(0, "since", "u64", 8),
            field(8, "flags", "u8", 1),
            field(9, "state", "u8", 1),
            field(12, "isn", "u32", 4),
        ];
        let conversions = between(before, now, 16).unwrap();
        assert_eq!(
            conversions.value.convert(&[1, 2, 3, 4, 5, 6, 7, 8]),
            [0, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 1, 2, 3, 4]
        );
        assert_eq!(conversions.key.convert(&[9, 8, 7, 6]), [9, 8, 7, 6]);
    }

    #[test]
    fn another_type_is_refused_by_its_name() {
        let refused = |before, now| between(vec![before], vec![now], 8).unwrap_err().to_string();
        let (narrow, wide) = (field(0, "shift", "u16", 2), field(0, "shift", "u32", 4));
        assert_eq!(refused(narrow.clone(), wide), "shift is u16 there and u32 here");
        let signed = field(0, "shift", "i16", 2);
        assert_eq!(refused(narrow, signed), "shift is u16 there and i16 here");
        let number = field(0, "", "u32", 4);
        assert_eq!(refused(number, field(0, "", "u64", 8)), "its value is u32 there and u64 here");
    }

    #[test]
    fn keys_have_the_same_fields_or_are_refused() {
        let of = |key: Vec<Field>| Fields { key, value: Vec::new() };
        let more = of(vec![field(0, "port", "u16", 2), field(2, "zone", "u16", 2)]);
        let fewer = of(vec![field(0, "port", "u16", 2)]);
        for (before, now) in [(&fewer, &more), (&more, &fewer)] {
            assert!(Conversions::between(before, now, (4, 0)).is_err());
        }
    }

    proptest! {
        /// Whatever the order of the fields, to another layout and back changes nothing.
        #[test]
        fn there_and_back(
            sizes in prop::collection::vec(1_usize..9, 1..9),
            order in any::<prop::sample::Index>(),
            bytes in prop::collection::vec(any::<u8>(), 72),
        ) {
            let names: Vec<_> = (0..sizes.len()).collect();
            let place = |names: &[usize]| {
                let mut at = 0;
                let mut fields = Vec::new();
                for name in names {
                    fields.push(field(at, &name.to_string(), "x", sizes[*name]));
                    at += sizes[*name];
                }
                fields
            };
            let mut other = names.clone();
            other.rotate_left(order.index(names.len()));
            let size = sizes.iter().sum();
            let there = Conversion::between(&place(&names), &place(&other), size).unwrap();
            let back = Conversion::between(&place(&other), &place(&names), size).unwrap();
            let bytes = &bytes[..size];
            prop_assert_eq!(back.convert(&there.convert(bytes)), bytes);
        }
    }
}
