//! The shared types as map keys and values.

use aya::Pod;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A shared type, readable from and writable to a map as it is.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Raw<T>(pub T);

// SAFETY: `T` derives both traits, so the compiler has shown that it has no padding and that any bytes are a value of
// it; `Raw` has the layout of `T`.
unsafe impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> Pod for Raw<T> {}
