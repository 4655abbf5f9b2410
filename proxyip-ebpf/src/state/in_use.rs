//! What nobody need look at until it has been used.

use crate::kernel::{btf_maps::Array, macros::btf_map};

/// [`HANDSHAKES`](crate::state::handshakes::HANDSHAKES) and
/// [`TRANSLATIONS`](crate::state::translations::TRANSLATIONS): the first byte of the first word.
pub const TRANSLATE: (u32, usize) = (0, 0);
/// [`NEIGHBOURS`](crate::state::neighbours::NEIGHBOURS), which a program at XDP asks: the second byte of that word. The egress
/// program wants to know both, and reads them at once.
pub const NEIGHBOURS: (u32, usize) = (0, 1);
/// [`PARTIAL_HEADERS`](crate::state::parts::PARTIAL_HEADERS) and
/// [`HEADER_BYTES`](crate::state::parts::HEADER_BYTES).
pub const SPLIT: (u32, usize) = (1, 0);
/// How many words there are.
const COUNT: usize = 2;

/// Whether something has ever been used: a word, and a byte of it.
#[btf_map]
pub static IN_USE: Array<u32, COUNT> = Array::new();

/// What the egress program wants to know.
#[derive(Clone, Copy)]
pub struct Outgoing([u8; 4]);

impl Outgoing {
    #[inline(always)]
    pub fn read() -> Self {
        Self(word(TRANSLATE.0))
    }

    /// Nothing of a frame need be known.
    #[inline(always)]
    pub fn is_idle(self) -> bool {
        u32::from_ne_bytes(self.0) == 0
    }

    #[inline(always)]
    pub fn has(self, (_, byte): (u32, usize)) -> bool {
        self.0[byte] != 0
    }
}

#[inline(always)]
fn word(index: u32) -> [u8; 4] {
    IN_USE.get(index).copied().unwrap_or_default().to_ne_bytes()
}

/// Whether it has ever been used.
#[inline(always)]
pub fn is_used((index, byte): (u32, usize)) -> bool {
    word(index)[byte] != 0
}

/// Notes that it is about to be used.
#[inline(always)]
pub fn set_used((index, byte): (u32, usize)) {
    let Some(word) = IN_USE.get_ptr_mut(index) else { return };
    // SAFETY: a byte of the slot, which exists. Every writer of this byte writes the same, and no other byte.
    unsafe {
        let used = word.cast::<u8>().add(byte);
        if *used == 0 {
            *used = 1;
        }
    }
}
