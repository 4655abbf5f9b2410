//! The shared types as map keys and values.

use std::slice;

use aya::Pod;
use proxyip_common::flow::{FlowKey, FlowRecord, Handshake, Translation};
use proxyip_common::lookup::Answer;
use proxyip_common::partial::{HeaderBytes, PartialHeader};
use proxyip_common::settings::{ListenerSettings, Name, NamespaceSettings, Policy, ScopedAddress};

/// A shared type, readable from and writable to a map as it is.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Raw<T>(pub T);

/// The bytes of a value.
pub(super) fn bytes_of<T: Pod>(value: &T) -> &[u8] {
    // SAFETY: as many bytes as the value has, none of them padding.
    unsafe { slice::from_raw_parts((&raw const *value).cast(), size_of::<T>()) }
}

/// The value that has these bytes.
///
/// # Panics
/// When they are not as many as the value has.
pub(super) fn value_of<T: Pod>(bytes: &[u8]) -> T {
    assert_eq!(bytes.len(), size_of::<T>());
    // SAFETY: as many bytes as the value has, which any bytes are.
    unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
}

macro_rules! pod {
    ($($type:ty)*) => {$(
        // SAFETY: `repr(C)`, made of integers only, and without padding, as its layout test shows.
        unsafe impl Pod for Raw<$type> {}
    )*};
}

pod! {
    Answer FlowKey FlowRecord Handshake HeaderBytes ListenerSettings NamespaceSettings Name PartialHeader Policy ScopedAddress
    Translation
}
