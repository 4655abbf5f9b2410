//! The fields of a map's keys and values, from BTF (<https://docs.kernel.org/bpf/btf.html>): of the kernel object, and of
//! maps that the kernel has.

use std::fmt;
use std::os::fd::AsFd;

use anyhow::{Context, Result, ensure};
use aya::maps::MapData;

use crate::bpf::calls;

const MAGIC: u32 = 0xeb9f;

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const ENUM64: u32 = 19;

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
    let types = Types::parse(&calls::btf(numbers.btf).context("a map's types cannot be read")?)?;
    let fields = |number: u32| types.fields(number as usize);
    Ok(Some(Fields { key: fields(numbers.key)?, value: fields(numbers.value)? }))
}

/// The types of an object.
pub(crate) struct Types {
    /// By their numbers; number 0 is `void`.
    types: Vec<Type>,
}

#[derive(Clone, Debug, Default)]
struct Type {
    name: String,
    kind: u32,
    /// The size, or the number of another type.
    target: u32,
    /// Of structures: names, types, and where they begin in bytes.
    members: Vec<(String, usize, u32)>,
    /// Of arrays: the elements' type, and how many.
    elements: (usize, u32),
}

/// Words, one after another.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn next(&mut self) -> Result<u32> {
        let (word, rest) = self.0.split_first_chunk().context(CUT)?;
        self.0 = rest;
        Ok(u32::from_ne_bytes(*word))
    }

    fn skip(&mut self, count: u32) -> Result<()> {
        self.0 = self.0.get(4 * count as usize..).context(CUT)?;
        Ok(())
    }
}

const CUT: &str = "BTF that ends in the middle";

impl Types {
    /// Reads BTF.
    ///
    /// # Errors
    /// If it is none, or cut.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let mut header = Words(bytes);
        let (magic, length) = (header.next()?, header.next()? as usize);
        ensure!(magic & 0xffff == MAGIC, "no BTF of this machine's byte order");
        let mut section = || {
            let start = length + header.next()? as usize;
            bytes.get(start..start + header.next()? as usize).context(CUT)
        };
        let (types, names) = (section()?, section()?);
        let mut words = Words(types);
        let mut types = vec![Type::default()];
        while !words.0.is_empty() {
            types.push(Type::read(&mut words, names)?);
        }
        Ok(Self { types })
    }

    /// The fields of a map of an object.
    ///
    /// # Errors
    /// If the object does not describe it.
    pub(crate) fn of_object(&self, map: &str) -> Result<Fields> {
        let variable = self.types.iter().find(|one| one.kind == VAR && one.name == map);
        let variable = variable.with_context(|| format!("BTF has no map {map}"))?;
        let definition = self.get(variable.target as usize)?;
        let fields = |part: &str| {
            let member = definition.members.iter().find(|(name, ..)| name == part);
            let Some((_, pointer, _)) = member else { return Ok(Vec::new()) };
            let pointer = self.get(*pointer)?;
            ensure!(pointer.kind == PTR, "{map}: {part} is no pointer");
            self.fields(pointer.target as usize)
        };
        Ok(Fields { key: fields("key")?, value: fields("value")? })
    }

    fn get(&self, number: usize) -> Result<&Type> {
        self.types.get(number).context("BTF with a type that it does not have")
    }

    /// The fields of the type with this number.
    fn fields(&self, number: usize) -> Result<Vec<Field>> {
        let mut fields = Vec::new();
        self.flatten(number, 0, "", &mut fields)?;
        Ok(fields)
    }

    fn flatten(&self, number: usize, at: u32, name: &str, fields: &mut Vec<Field>) -> Result<()> {
        let found = self.get(number)?;
        if found.kind != STRUCT && found.kind != UNION {
            let (kind, size) = (self.label(number)?, self.size(number)?);
            fields.push(Field { at: at as usize, name: name.into(), kind, size });
            return Ok(());
        }
        for (member, number, offset) in &found.members {
            let dot = if name.is_empty() { "" } else { "." };
            self.flatten(*number, at + offset, &format!("{name}{dot}{member}"), fields)?;
        }
        Ok(())
    }

    /// What a type that is no structure is called.
    fn label(&self, number: usize) -> Result<String> {
        let found = self.get(number)?;
        Ok(match found.kind {
            ARRAY => format!("[{}; {}]", self.label(found.elements.0)?, found.elements.1),
            _ => found.name.clone(),
        })
    }

    /// How many bytes a type has.
    fn size(&self, number: usize) -> Result<usize> {
        let found = self.get(number)?;
        Ok(match found.kind {
            ARRAY => self.size(found.elements.0)? * found.elements.1 as usize,
            // `()`, the key of a map without keys.
            0 => 0,
            _ => found.target as usize,
        })
    }
}

impl Type {
    fn read(words: &mut Words, names: &[u8]) -> Result<Self> {
        let name = |at: u32| {
            let name = names.get(at as usize..).context(CUT)?;
            let end = name.iter().position(|byte| *byte == 0).context(CUT)?;
            Ok::<_, anyhow::Error>(String::from_utf8_lossy(&name[..end]).into_owned())
        };
        let (called, info, target) = (words.next()?, words.next()?, words.next()?);
        let (kind, count) = ((info >> 24) & 0x1f, info & 0xffff);
        let mut found = Self { name: name(called)?, kind, target, ..Self::default() };
        match kind {
            INT | VAR | DECL_TAG => words.skip(1)?,
            ARRAY => {
                let (element, _index) = (words.next()? as usize, words.next()?);
                found.elements = (element, words.next()?);
            }
            STRUCT | UNION => {
                for _ in 0..count {
                    let (member, kind) = (name(words.next()?)?, words.next()? as usize);
                    found.members.push((member, kind, (words.next()? & 0xff_ffff) / 8));
                }
            }
            ENUM | FUNC_PROTO => words.skip(2 * count)?,
            DATASEC | ENUM64 => words.skip(3 * count)?,
            _ => {}
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use aya_obj::Object;

    use super::*;
    use crate::bpf::object;

    fn types() -> Types {
        let object = object::object(None).expect("the kernel object");
        let object = Object::parse(&object).expect("the kernel object");
        Types::parse(&object.btf.as_ref().expect("BTF").to_bytes()).expect("BTF")
    }

    #[test]
    fn fields_have_places_names_types_and_sizes() {
        let fields = types().of_object("TRANSLATIONS").unwrap();
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
        let object = object::object(None).unwrap();
        let bytes = Object::parse(&object).unwrap().btf.unwrap().to_bytes();
        for length in [0, 3, 8, 24, 100, bytes.len() - 1] {
            assert!(Types::parse(&bytes[..length]).is_err(), "{length}");
        }
        assert!(types().of_object("NOTHING").is_err());
    }
}
