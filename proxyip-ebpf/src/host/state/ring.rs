//! The ring buffer.

use core::{marker::PhantomData, mem::MaybeUninit};
use std::{
    ops::{Deref, DerefMut},
    slice,
};

/// A ring buffer, which is read at once.
pub struct RingBuf<T, const N: usize> {
    address: u8,
    element: PhantomData<fn() -> T>,
}

impl<T, const N: usize> RingBuf<T, N> {
    /// The definition.
    #[allow(clippy::new_without_default, reason = "made in statics only")]
    pub const fn new() -> Self {
        Self { address: 0, element: PhantomData }
    }

    /// Room for one value; `None` if the buffer is full.
    pub fn reserve_untyped<U: 'static>(&self, _flags: u64) -> Option<RingBufEntry<U>> {
        let _ = self.address;
        if super::with(|state| state.events_full) {
            return None;
        }
        Some(RingBufEntry { value: Box::new_uninit(), submitted: false })
    }
}

/// Room for a value, which must be submitted.
pub struct RingBufEntry<U> {
    value: Box<MaybeUninit<U>>,
    submitted: bool,
}

impl<U> RingBufEntry<U> {
    /// Makes the value visible to the agent.
    pub fn submit(mut self, _flags: u64) {
        self.submitted = true;
        // SAFETY: as many bytes as the value has, all of them written: there is no padding.
        let bytes =
            unsafe { slice::from_raw_parts(self.value.as_ptr().cast::<u8>(), size_of::<U>()) };
        super::with(|state| state.events.push(bytes.to_vec()));
    }
}

impl<U> Deref for RingBufEntry<U> {
    type Target = MaybeUninit<U>;

    fn deref(&self) -> &Self::Target {
        &self.value
    }
}

impl<U> DerefMut for RingBufEntry<U> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.value
    }
}

impl<U> Drop for RingBufEntry<U> {
    fn drop(&mut self) {
        assert!(self.submitted || std::thread::panicking(), "an entry was not submitted");
    }
}
