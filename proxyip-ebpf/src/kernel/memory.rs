//! Working memory, one for each CPU. The stack holds only 512 bytes. For values on the stack, the verifier would also
//! walk the programs once for each combination that it can tell apart.
//!
//! Several functions hold it at a time: each function that is verified separately
//! ([`verified`](crate::kernel::verified)) fetches it anew. So it consists of cells, and is never borrowed mutably as
//! a whole.

use core::cell::UnsafeCell;

use crate::kernel::{btf_maps::PerCpuArray, macros::btf_map};

/// Bytes of it.
pub const SIZE: usize = 13_696;

/// The working memory of the ingress program. A softirq is not interrupted by another on the same CPU.
#[btf_map]
pub static SCRATCH: PerCpuArray<[u64; SIZE / 8], 1> = PerCpuArray::new();

/// A type that lies in working memory, in a place of its own.
///
/// # Safety
/// Any bytes are a valid value of it, and it consists of cells. It shares no byte with another implementation, except
/// with one that holds it as a field at that place.
pub unsafe trait Room: Sized + 'static {
    /// Where it begins.
    const AT: usize;
    /// Where it ends.
    const END: usize = Self::AT + size_of::<Self>();
}

/// A part of this CPU's working memory.
#[inline(always)]
pub fn room<T: Room>() -> Option<&'static T> {
    const { assert!(T::END <= SIZE && T::AT.is_multiple_of(8) && align_of::<T>() <= 8) }
    let memory = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: within the value, and aligned; the value is this CPU's own, zeroed by the kernel, and lives for ever.
    Some(unsafe { &*memory.cast::<u8>().add(T::AT).cast::<T>() })
}

/// A cell for values that are too large to be copied in and out.
#[repr(transparent)]
pub struct Place<T>(UnsafeCell<T>);

impl<T> Place<T> {
    /// Its address.
    #[inline(always)]
    pub const fn as_ptr(&self) -> *mut T {
        self.0.get()
    }

    /// The value.
    ///
    /// # Safety
    /// As long as the reference is used, nobody else writes to the place.
    #[inline(always)]
    pub unsafe fn get(&self) -> &T {
        // SAFETY: the caller's promise.
        unsafe { &*self.as_ptr() }
    }

    /// The value, to be changed.
    ///
    /// # Safety
    /// As long as the reference is used, nobody else reads the place or writes to it.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "a cell, whose users are this CPU's one program")]
    pub unsafe fn get_mut(&self) -> &mut T {
        // SAFETY: the caller's promise.
        unsafe { &mut *self.as_ptr() }
    }
}
