//! The shared types as map keys and values.

use aya::Pod;
use proxyip_common::flow::{FlowKey, FlowRecord, Handshake, Translation};
use proxyip_common::partial::{HeaderBytes, PartialHeader};
use proxyip_common::settings::{ListenerSettings, Name, NamespaceSettings, Policy, ScopedAddress};

/// A shared type, readable from and writable to a map as it is.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Raw<T>(pub T);

macro_rules! pod {
    ($($type:ty)*) => {$(
        // SAFETY: `repr(C)`, made of integers only, and without padding, as its layout test shows.
        unsafe impl Pod for Raw<$type> {}
    )*};
}

pod! {
    FlowKey FlowRecord Handshake HeaderBytes ListenerSettings NamespaceSettings Name PartialHeader Policy ScopedAddress
    Translation
}
