//! Where fields of the running kernel's structures are, from its BTF
//! (<https://docs.kernel.org/bpf/btf.html>).
//!
//! The kernel programs are compiled for all kernels, and Rust has no CO-RE relocations. `aya` reads BTF too, but keeps the
//! members of structures to itself. The one other crate that reads it is under the LGPL.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};

const BTF: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u32 = 0xeb9f;
/// Bytes of a type, without what follows it.
const TYPE: usize = 12;

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
    let bytes = fs::read(BTF).with_context(|| format!("{BTF} cannot be read"))?;
    let btf = Btf::parse(&bytes)?;
    let options = btf.member("tcp_sock", "rx_opt")?;
    Ok(SocketOffsets {
        user_mss: options + btf.member("tcp_options_received", "user_mss")?,
        // A `tcp_sock` begins with its `sock`.
        backlog: btf.member("sock", "sk_ack_backlog")?,
        max_backlog: btf.member("sock", "sk_max_ack_backlog")?,
    })
}

struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Btf<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self> {
        ensure!(word(bytes, 0)? & 0xffff == MAGIC, "{BTF} is no BTF of this machine's byte order");
        let header = word(bytes, 4)? as usize;
        let section = |at: usize| {
            let start = header + word(bytes, at)? as usize;
            let length = word(bytes, at + 4)? as usize;
            bytes.get(start..start + length).context("BTF that ends in the middle")
        };
        Ok(Self { types: section(8)?, strings: section(16)? })
    }

    /// The offset of a member of a structure, in bytes.
    fn member(&self, structure: &str, member: &str) -> Result<u32> {
        const STRUCT: u32 = 4;
        /// A structure with bit fields: the upper byte of an offset is a width.
        const BIT_FIELDS: u32 = 1 << 31;
        const OFFSET: u32 = 0x00ff_ffff;
        let mut at = 0;
        while at < self.types.len() {
            let (name, info) = (word(self.types, at)?, word(self.types, at + 4)?);
            let (kind, count) = (info >> 24 & 0x1f, info as usize & 0xffff);
            let following = at + TYPE;
            if kind == STRUCT && self.is(name, structure) {
                for member_at in (following..).step_by(TYPE).take(count) {
                    let bits = word(self.types, member_at + 8)?;
                    let bits = if info & BIT_FIELDS == 0 { bits } else { bits & OFFSET };
                    if self.is(word(self.types, member_at)?, member) {
                        return Ok(bits / 8);
                    }
                }
            }
            at = following + size_of_rest(kind, count)?;
        }
        bail!("the kernel's BTF has no {member} in {structure}")
    }

    /// Whether the string at this offset is `name`.
    fn is(&self, offset: u32, name: &str) -> bool {
        let string =
            self.strings.get(offset as usize..).and_then(|rest| rest.strip_prefix(name.as_bytes()));
        string.is_some_and(|rest| rest.first() == Some(&0))
    }
}

/// How many bytes follow a type of this kind.
fn size_of_rest(kind: u32, count: usize) -> Result<usize> {
    Ok(match kind {
        // Integers, variables, tags of declarations.
        1 | 14 | 17 => 4,
        // Pointers, forward declarations, typedefs, qualifiers, functions, floats, tags of types.
        2 | 7..=12 | 16 | 18 => 0,
        // An array.
        3 => 12,
        // Structures, unions, sections, 64-bit enumerations.
        4 | 5 | 15 | 19 => count * 12,
        // Enumerations, parameters.
        6 | 13 => count * 8,
        _ => bail!("the kernel's BTF has a kind of type that is not known: {kind}"),
    })
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let word =
        bytes.get(at..).and_then(<[u8]>::first_chunk).context("BTF that ends in the middle")?;
    Ok(u32::from_ne_bytes(*word))
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
        assert_eq!(btf.member("one", "b").unwrap(), 6);
        assert_eq!(btf.member("one", "a").unwrap(), 0);
        let error = btf.member("one", "c").unwrap_err().to_string();
        assert_eq!(error, "the kernel's BTF has no c in one");
        assert!(btf.member("on", "b").is_err());
    }

    #[test]
    fn damaged_btf_is_refused() {
        let bytes = sample();
        for length in 0..bytes.len() {
            let found = Btf::parse(&bytes[..length]).and_then(|btf| btf.member("one", "b"));
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
