//! What the verifier asks of code: bounds that it sees, and functions that it walks once.

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
