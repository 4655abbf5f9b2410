//! The shared types as map keys and values.

use aya::Pod;
use proxyip_common::flow::{FlowKey, FlowRecord, Translation};
use proxyip_common::settings::{ListenerSettings, NamespaceSettings, ScopedAddress};

/// A shared type, readable from and writable to a map as it is.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Raw<T>(pub(super) T);

macro_rules! pod {
    ($($type:ty)*) => {$(
        // SAFETY: `repr(C)`, made of integers only, and without padding, as its layout test shows.
        unsafe impl Pod for Raw<$type> {}
    )*};
}

pod! { FlowKey FlowRecord ListenerSettings NamespaceSettings ScopedAddress Translation }
