//! The kernel object, as loaded: embedded at build time, its kernel function calls filled in.

use anyhow::{Result, ensure};
use aya::{Btf, include_bytes_aligned};
use aya_obj::btf::BtfKind;
use proxyip_common::settings::KFUNC_ASSIGN;

use crate::host::capability::ASSIGN;

static OBJECT: &[u8] = include_bytes_aligned!(env!("PROXYIP_OBJECT"));

/// The object with the programs in front, which need nothing filled in.
pub static FRONT: &[u8] = include_bytes_aligned!(env!("PROXYIP_FRONT"));

/// Size of a BPF instruction in bytes.
const INSTRUCTION: usize = 8;
/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// `BPF_PSEUDO_KFUNC_CALL`, in the source register's half of the second byte.
const KFUNC: u8 = 2 << 4;

/// The BTF id of [`ASSIGN`] in the running kernel; `None` if the kernel lacks this function, or BTF.
#[must_use]
pub fn assign() -> Option<u32> {
    let found = Btf::from_sys_fs().and_then(|btf| btf.id_by_type_name_kind(ASSIGN, BtfKind::Func));
    found.inspect_err(|error| tracing::debug!("no {ASSIGN}(): {error}")).ok()
}

/// The object, its calls of [`ASSIGN`] filled in with the function's BTF id. Without one, the program that
/// calls it must not be loaded.
///
/// # Errors
/// If the object was built wrongly.
pub fn object(assign: Option<u32>) -> Result<Vec<u8>> {
    let mut object = OBJECT.to_vec();
    if let Some(id) = assign {
        let calls = patch(&mut object, KFUNC_ASSIGN, id);
        ensure!(calls > 0, "the kernel object calls no {ASSIGN}(): it was built wrongly");
    }
    Ok(object)
}

/// Turns each `call placeholder` into a call of the kernel function with BTF id `id`; returns how many.
///
/// Sections with instructions are aligned to an instruction's size, so the scan sees each of them whole.
fn patch(object: &mut [u8], placeholder: u32, id: u32) -> usize {
    let (instructions, _) = object.as_chunks_mut::<INSTRUCTION>();
    let mut calls = 0;
    for instruction in instructions {
        let [code, registers, _, _, immediate @ ..] = instruction;
        if *code == CALL && *registers == 0 && *immediate == placeholder.to_le_bytes() {
            *registers = KFUNC;
            *immediate = id.to_le_bytes();
            calls += 1;
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_patched_and_nothing_else() {
        let call = [CALL, 0, 0, 0, 1, 0, 0xf0, 0x7f];
        let other = [CALL, 0, 0, 0, 2, 0, 0, 0];
        let mut object = [call, other].concat();
        assert_eq!(patch(&mut object, 0x7ff0_0001, 0x1_0203), 1);
        assert_eq!(object[..8], [CALL, 0x20, 0, 0, 3, 2, 1, 0]);
        assert_eq!(object[8..], other);
    }

    #[test]
    fn the_embedded_object_has_one_call() {
        assert_eq!(patch(&mut OBJECT.to_vec(), KFUNC_ASSIGN, 1), 1);
    }
}
