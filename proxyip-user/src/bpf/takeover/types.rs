//! The fields of a map's keys and values, from BTF: of the kernel object, and of maps that the kernel has.

use std::fmt;
use std::os::fd::AsFd;

use anyhow::{Context, Result, ensure};
use aya::maps::MapData;

use crate::bpf::btf::{ARRAY, Btf, PTR, STRUCT, UNION, VAR, VOID};
use crate::bpf::calls;

/// A field of a key or a value that is itself no structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Where it begins, in bytes.
    pub(crate) at: usize,
    /// Its path, with dots; empty for what is one number.
    pub(crate) name: String,
    /// What its type is called.
    pub(crate) kind: String,
    /// How many bytes it has.
    pub(crate) size: usize,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, name, kind, .. } = self;
        let space = if name.is_empty() { "" } else { " " };
        write!(f, "{at} {name}{space}{kind}")
    }
}

/// What a map holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) key: Vec<Field>,
    pub(crate) value: Vec<Field>,
}

/// The fields of a map that the kernel has; `None` for one that it knows no types of.
///
/// # Errors
/// If the kernel does not say, or says what is no BTF.
pub(super) fn of_map(map: &MapData) -> Result<Option<Fields>> {
    let numbers = calls::types_of_map(map.fd().as_fd()).context("a map's types are not said")?;
    if numbers.btf == 0 {
        return Ok(None);
    }
    let bytes = calls::btf(numbers.btf).context("a map's types cannot be read")?;
    let btf = Btf::parse(&bytes)?;
    let fields = |number: u32| fields(&btf, number as usize);
    Ok(Some(Fields { key: fields(numbers.key)?, value: fields(numbers.value)? }))
}

/// The fields of a map of an object.
///
/// # Errors
/// If the object does not describe it.
pub(crate) fn of_object(btf: &Btf, map: &str) -> Result<Fields> {
    let variable = btf.find(VAR, map)?.with_context(|| format!("BTF has no map {map}"))?;
    let definition = btf.get(variable.target as usize)?;
    let part = |part: &str| {
        for member in definition.members() {
            let member = member?;
            if member.name == part {
                let pointer = btf.get(member.number)?;
                ensure!(pointer.kind == PTR, "{map}: {part} is no pointer");
                return fields(btf, pointer.target as usize);
            }
        }
        Ok(Vec::new())
    };
    Ok(Fields { key: part("key")?, value: part("value")? })
}

/// The fields of the type with this number.
fn fields(btf: &Btf, number: usize) -> Result<Vec<Field>> {
    let mut fields = Vec::new();
    flatten(btf, (number, 0, ""), &mut fields)?;
    Ok(fields)
}

/// Adds the fields of a type that begins there, and has this path.
fn flatten(
    btf: &Btf,
    (number, at, path): (usize, u32, &str),
    fields: &mut Vec<Field>,
) -> Result<()> {
    let found = btf.get(number)?;
    if found.kind != STRUCT && found.kind != UNION {
        let (kind, size) = (label(btf, number)?, size(btf, number)?);
        fields.push(Field { at: at as usize, name: path.into(), kind, size });
        return Ok(());
    }
    for member in found.members() {
        let member = member?;
        let dot = if path.is_empty() { "" } else { "." };
        let path = format!("{path}{dot}{}", member.name);
        flatten(btf, (member.number, at + member.offset, &path), fields)?;
    }
    Ok(())
}

/// What a type that is no structure is called.
fn label(btf: &Btf, number: usize) -> Result<String> {
    let found = btf.get(number)?;
    if found.kind != ARRAY {
        return Ok(found.name.into());
    }
    let (element, count) = found.elements()?;
    Ok(format!("[{}; {count}]", label(btf, element)?))
}

/// How many bytes a type has.
fn size(btf: &Btf, number: usize) -> Result<usize> {
    let found = btf.get(number)?;
    Ok(match found.kind {
        ARRAY => {
            let (element, count) = found.elements()?;
            size(btf, element)? * count as usize
        }
        // `()`, the key of a map without keys.
        VOID => 0,
        _ => found.target as usize,
    })
}

#[cfg(test)]
mod tests {
    use aya_obj::Object;

    use super::*;
    use crate::bpf::object;

    fn bytes() -> Vec<u8> {
        let object = object::object(None).expect("the kernel object");
        let object = Object::parse(&object).expect("the kernel object");
        object.btf.as_ref().expect("BTF").to_bytes()
    }

    #[test]
    fn fields_have_places_names_types_and_sizes() {
        let bytes = bytes();
        let fields = of_object(&Btf::parse(&bytes).unwrap(), "TRANSLATIONS").unwrap();
        let said = |fields: &[Field]| fields.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            said(&fields.value),
            ["0 seen_ns u64", "8 isn u32", "12 shift u16", "14 state u8", "15 flags u8"]
        );
        assert_eq!(fields.value.iter().map(|field| field.size).sum::<usize>(), 16);
        assert_eq!(fields.key.iter().map(|field| field.size).sum::<usize>(), 48);
    }

    #[test]
    fn what_is_cut_is_refused() {
        let bytes = bytes();
        for length in [0, 3, 8, 24, 100, bytes.len() - 1] {
            assert!(Btf::parse(&bytes[..length]).is_err(), "{length}");
        }
        assert!(of_object(&Btf::parse(&bytes).unwrap(), "NOTHING").is_err());
    }
}
