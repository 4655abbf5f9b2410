//! Handshakes that the kernel does itself.

use proxyip_common::flow::{FlowKey, Handshake};

use crate::kernel::{btf_maps::LruHashMap, macros::btf_map};

/// Handshakes that the kernel does itself. Under a flood of SYNs the oldest make room: their connections are
/// reset when their header comes.
#[btf_map]
pub static HANDSHAKES: LruHashMap<FlowKey, Handshake, 65_536> = LruHashMap::new();
