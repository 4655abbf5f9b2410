//! Reads BTF (<https://docs.kernel.org/bpf/btf.html>): of the running kernel, of the kernel object, and of maps that the
//! kernel has. Nothing is copied: the kernel describes more than a hundred thousand types.
//!
//! The kernel programs are compiled for all kernels, and Rust has no CO-RE relocations. `aya` reads BTF too, but keeps the
//! members of structures to itself. The one other crate that reads it is under the LGPL.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};

const KERNEL: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u32 = 0xeb9f;
/// Bytes of a type, without what follows it.
const TYPE: usize = 12;
/// Bytes of a member of a structure.
const MEMBER: usize = 12;
const CUT: &str = "BTF that ends in the middle";

pub(super) const VOID: u32 = 0;
pub(super) const PTR: u32 = 2;
pub(super) const ARRAY: u32 = 3;
pub(super) const STRUCT: u32 = 4;
pub(super) const UNION: u32 = 5;
pub(super) const VAR: u32 = 14;

/// Offsets in bytes of what the programs read of a socket that listens, in its `struct tcp_sock`; 0 for what is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SocketOffsets {
    /// `TCP_MAXSEG`.
    pub(crate) user_mss: u32,
    /// How many connections wait in the accept queue.
    pub(crate) backlog: u32,
    /// How many may.
    pub(crate) max_backlog: u32,
}

/// The running kernel's.
///
/// # Errors
/// If the kernel has no BTF, or not these fields.
pub(crate) fn socket_offsets() -> Result<SocketOffsets> {
    let bytes = fs::read(KERNEL).with_context(|| format!("{KERNEL} cannot be read"))?;
    let btf = Btf::parse(&bytes).context(KERNEL)?;
    let options = btf.offset("tcp_sock", "rx_opt")?;
    Ok(SocketOffsets {
        user_mss: options + btf.offset("tcp_options_received", "user_mss")?,
        // A `tcp_sock` begins with its `sock`.
        backlog: btf.offset("sock", "sk_ack_backlog")?,
        max_backlog: btf.offset("sock", "sk_max_ack_backlog")?,
    })
}

/// All types of a piece of BTF.
pub(crate) struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each begins, by its number, from 1 on.
    places: Vec<usize>,
}

/// A type.
pub(super) struct Type<'a> {
    pub(super) name: &'a str,
    pub(super) kind: u32,
    /// The size in bytes, or the number of another type.
    pub(super) target: u32,
    /// Of structures: the upper byte of a member's offset is its width in bits.
    has_bit_fields: bool,
    /// What follows.
    rest: &'a [u8],
    strings: &'a [u8],
}

/// A member of a structure or union.
pub(super) struct Member<'a> {
    pub(super) name: &'a str,
    /// The number of its type.
    pub(super) number: usize,
    /// Where it begins, in bytes.
    pub(super) offset: u32,
}

impl<'a> Btf<'a> {
    /// Finds where the types are.
    ///
    /// # Errors
    /// If it is no BTF, or cut.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        ensure!(word(bytes, 0)? & 0xffff == MAGIC, "no BTF of this machine's byte order");
        let header = word(bytes, 4)? as usize;
        let section = |at: usize| {
            let start = header + word(bytes, at)? as usize;
            bytes.get(start..start + word(bytes, at + 4)? as usize).context(CUT)
        };
        let (types, strings) = (section(8)?, section(16)?);
        let (mut places, mut at) = (Vec::new(), 0);
        while at < types.len() {
            places.push(at);
            at += TYPE + size_of_rest(word(types, at + 4)?)?;
        }
        ensure!(at == types.len(), CUT);
        Ok(Self { types, strings, places })
    }

    /// The type with this number; number 0 is `void`.
    pub(super) fn get(&self, number: usize) -> Result<Type<'a>> {
        let Some(before) = number.checked_sub(1) else {
            let strings = self.strings;
            let name = "";
            return Ok(Type {
                name,
                kind: VOID,
                target: 0,
                has_bit_fields: false,
                rest: &[],
                strings,
            });
        };
        let at = *self.places.get(before).context("BTF with a type that it does not have")?;
        let info = word(self.types, at + 4)?;
        let following = at + TYPE;
        Ok(Type {
            name: string(self.strings, word(self.types, at)?)?,
            kind: kind(info),
            target: word(self.types, at + 8)?,
            has_bit_fields: info >> 31 == 1,
            rest: self.types.get(following..following + size_of_rest(info)?).context(CUT)?,
            strings: self.strings,
        })
    }

    /// The first type of this kind and name.
    pub(super) fn find(&self, kind: u32, name: &str) -> Result<Option<Type<'a>>> {
        let is_it = |found: &Type| found.kind == kind && found.name == name;
        let mut all = (1..=self.places.len()).map(|number| self.get(number));
        all.find(|found| found.as_ref().map_or(true, is_it)).transpose()
    }

    /// The offset of a member of a structure, in bytes.
    fn offset(&self, structure: &str, member: &str) -> Result<u32> {
        if let Some(found) = self.find(STRUCT, structure)? {
            for one in found.members() {
                let one = one?;
                if one.name == member {
                    return Ok(one.offset);
                }
            }
        }
        bail!("the kernel's BTF has no {member} in {structure}")
    }
}

impl<'a> Type<'a> {
    /// The members; none if it is neither a structure nor a union.
    pub(super) fn members(&self) -> impl Iterator<Item = Result<Member<'a>>> {
        const OFFSET: u32 = 0x00ff_ffff;
        let has_some = matches!(self.kind, STRUCT | UNION);
        let rest = if has_some { self.rest } else { &[] };
        let (strings, mask) = (self.strings, if self.has_bit_fields { OFFSET } else { u32::MAX });
        rest.chunks_exact(MEMBER).map(move |member| {
            Ok(Member {
                name: string(strings, word(member, 0)?)?,
                number: word(member, 4)? as usize,
                offset: (word(member, 8)? & mask) / 8,
            })
        })
    }

    /// Of an array: the number of its elements' type, and how many there are.
    pub(super) fn elements(&self) -> Result<(usize, u32)> {
        Ok((word(self.rest, 0)? as usize, word(self.rest, 8)?))
    }
}

const fn kind(info: u32) -> u32 {
    info >> 24 & 0x1f
}

/// How many bytes follow a type.
fn size_of_rest(info: u32) -> Result<usize> {
    let count = info as usize & 0xffff;
    Ok(match kind(info) {
        // Integers, variables, tags of declarations.
        1 | VAR | 17 => 4,
        // Pointers, forward declarations, typedefs, qualifiers, functions, floats, tags of types.
        PTR | 7..=12 | 16 | 18 => 0,
        ARRAY => 12,
        // Structures, unions, sections, 64-bit enumerations.
        STRUCT | UNION | 15 | 19 => count * MEMBER,
        // Enumerations, parameters.
        6 | 13 => count * 8,
        other => bail!("BTF has a kind of type that is not known: {other}"),
    })
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk).context(CUT)?;
    Ok(u32::from_ne_bytes(*word))
}

/// The string at this offset.
fn string(strings: &[u8], offset: u32) -> Result<&str> {
    let rest = strings.get(offset as usize..).context(CUT)?;
    let end = memchr::memchr(0, rest).context(CUT)?;
    str::from_utf8(&rest[..end]).context("BTF with a name that is no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    /// An integer, then a structure with bit fields whose member `b` is at 6.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0one\0a\0b\0\0\0\0";
        let types = words(
            &[
                [1, 1 << 24, 4].as_slice(),
                &[32],
                &[5, 1 << 31 | 4 << 24 | 2, 8],
                &[9, 1, 0],
                &[11, 1, 3 << 24 | 0x30],
            ]
            .concat(),
        );
        let (length, end) =
            (u32::try_from(types.len()).unwrap(), u32::try_from(strings.len()).unwrap());
        let header = words(&[MAGIC | 1 << 16, 24, 0, length, length, end]);
        [header, types, strings.to_vec()].concat()
    }

    #[test]
    fn a_member_is_found_by_its_name() {
        let bytes = sample();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.offset("one", "b").unwrap(), 6);
        assert_eq!(btf.offset("one", "a").unwrap(), 0);
        let error = btf.offset("one", "c").unwrap_err().to_string();
        assert_eq!(error, "the kernel's BTF has no c in one");
        assert!(btf.offset("on", "b").is_err());
    }

    #[test]
    fn damaged_btf_is_refused() {
        let bytes = sample();
        for length in 0..bytes.len() {
            let found = Btf::parse(&bytes[..length]).and_then(|btf| btf.offset("one", "b"));
            assert!(found.is_err(), "{length}");
        }
    }

    #[test]
    fn the_running_kernel_has_the_fields() {
        let offsets = socket_offsets().unwrap();
        assert!(offsets.user_mss > offsets.max_backlog.max(offsets.backlog), "{offsets:?}");
        assert_ne!(offsets.backlog, offsets.max_backlog);
    }
}
