//! Connections whose sequence numbers are translated.

use proxyip_common::flow::{FlowKey, Translation};

use crate::{
    kernel::{
        bindings::{BPF_EXIST, BPF_F_NO_PREALLOC},
        btf_maps::HashMap,
        macros::btf_map,
    },
    state::in_use::{self, is_used},
};

/// Connections whose sequence numbers are translated. An entry is vital for its connection and is never evicted:
/// when the table is full, new connections are refused.
#[btf_map]
pub static TRANSLATIONS: HashMap<FlowKey, Translation, 262_144, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// Puts a changed entry in the place of the flow's; false if there is no memory for it. The old one is not written to:
/// since Linux 6.1 it may be another connection's when it has been removed meanwhile.
#[inline(never)]
pub fn replace(flow: &FlowKey, entry: &Translation) -> bool {
    TRANSLATIONS.insert(flow, entry, BPF_EXIST.into()).is_ok()
        || TRANSLATIONS.get_ptr(flow).is_none()
}

/// Whether any connection has ever been expected to be translated or observed.
#[inline(always)]
pub fn is_in_use() -> bool {
    is_used(in_use::TRANSLATE)
}
