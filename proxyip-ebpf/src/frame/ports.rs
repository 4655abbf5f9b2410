//! The ports that listeners guard.

use crate::kernel::{btf_maps::Array, macros::btf_map};

/// Local port (host order) to the index of its listener plus one; 0 where no listener guards the port.
#[btf_map]
pub static PORTS: Array<u16, 65536> = Array::new();

/// The listener that guards this port (network byte order).
#[inline(always)]
pub fn listener_of(port: [u8; 2]) -> Option<u16> {
    PORTS.get(u32::from(u16::from_be_bytes(port)))?.checked_sub(1)
}
