//! Connections whose segments are dropped because their client is denied.

use proxyip_common::flow::FlowKey;

use crate::kernel::{btf_maps::LruHashMap, macros::btf_map};

/// Connections whose segments are dropped because their client is denied, by the peer's initial sequence number. Only
/// the first segment of each is reported.
#[btf_map]
pub static DROPPED: LruHashMap<FlowKey, u32, 16_384> = LruHashMap::new();
