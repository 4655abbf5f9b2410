//! Which tables have ever had an entry: until then nobody need look there.

use crate::kernel::{btf_maps::Array, macros::btf_map};

/// [`HANDSHAKES`](crate::state::handshakes::HANDSHAKES) and
/// [`TRANSLATIONS`](crate::state::translations::TRANSLATIONS).
pub const TRANSLATE: u32 = 0;
/// [`PARTIAL_HEADERS`](crate::state::parts::PARTIAL_HEADERS) and
/// [`HEADER_BYTES`](crate::state::parts::HEADER_BYTES).
pub const SPLIT: u32 = 1;
/// How many there are.
const COUNT: usize = 2;

/// Whether tables have ever had an entry, by [`TRANSLATE`] and its sibling.
#[btf_map]
pub static IN_USE: Array<u32, COUNT> = Array::new();

/// Whether the tables have ever had an entry.
#[inline(always)]
pub fn is_used(tables: u32) -> bool {
    IN_USE.get(tables).is_some_and(|used| *used != 0)
}

/// Notes that the tables are about to have an entry.
#[inline(always)]
pub fn set_used(tables: u32) {
    if let Some(used) = IN_USE.get_ptr_mut(tables) {
        // SAFETY: the slot exists; every writer writes the same.
        unsafe {
            if *used == 0 {
                *used = 1;
            }
        }
    }
}
