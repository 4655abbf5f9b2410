//! What the verifier asks of code: bounds that it sees, and functions that it walks once.
//!
//! Each function says how it is called, because the compiler's own choice changes with every line:
//!
//! - `#[inline(always)]` is the rule. A call costs a frame of the stack, which has 512 bytes for a whole chain. At
//!   a call the verifier forgets what it knows of numbers on the stack.
//! - `#[inline(never)]` is for a function that needs room on the stack, so that its room is gone before the next is called.
//!   It is for a function with many callers too, and for one whose result LLVM must not put together with others. The
//!   verifier walks it anew at each call, so facts that lead to one and the same walk go through working memory.
//! - `#[inline(never)]` with `#[unsafe(no_mangle)]` and `extern "C"` is for a loop, and for one round of it: the verifier
//!   walks the function once. It takes nothing but the context, and returns a [`Code`].
//!
//! Two traps lie in values that are returned. A variant leaves the fields of others unset, and LLVM may store them all the
//! same, from a register that the verifier knows as unset. And an `Option` of a structure must find its empty value in the
//! structure's first field: BTF has no other place for it, and the kernel refuses all of the object's BTF.

use core::hint::black_box;

/// What a function that is verified by itself returns: a number that is not negative, or a reason.
pub type Code = i64;

/// A length for a helper, checked to be from 1 to `MOST`.
///
/// Call it directly before each use. It hides the value range from the compiler, or LLVM removes the check that the
/// verifier relies on. Older verifiers also forget the range of a number that is kept on the stack.
#[inline(always)]
pub fn bounded<const MOST: usize>(length: usize) -> Option<usize> {
    let below = black_box(length.wrapping_sub(1));
    if below >= MOST { None } else { Some(below + 1) }
}
