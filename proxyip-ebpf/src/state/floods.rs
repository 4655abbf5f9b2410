//! How many segments of no handshake this CPU has answered. Answers are bounded: in a flood they would cost more than all else,
//! and somebody whose address was forged would get them.

use crate::kernel::{btf_maps::PerCpuArray, clock::now, macros::btf_map};

/// The power of two of a window's length in nanoseconds: 134 ms.
const WINDOW: u32 = 27;
/// The most answers in a window: some 7,600 in a second.
pub const MOST: u32 = 1024;

/// What was answered in the last window that had anything to answer.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Answered {
    /// Its number since the start of the host. It comes again after 18 years.
    window: u32,
    count: u32,
}

/// One [`Answered`] for each CPU.
#[btf_map]
pub static FOREIGN_ANSWERS: PerCpuArray<Answered, 1> = PerCpuArray::new();

#[inline(always)]
fn window() -> u32 {
    (now() >> WINDOW) as u32
}

/// Whether one more may be answered, which counts as answered then.
#[inline(always)]
pub fn may_answer() -> bool {
    let Some(answered) = FOREIGN_ANSWERS.get_ptr_mut(0) else { return false };
    // SAFETY: the slot is this CPU's own.
    let answered = unsafe { &mut *answered };
    let window = window();
    if answered.window != window {
        *answered = Answered { window, count: 0 };
    }
    let may = answered.count < MOST;
    answered.count += u32::from(may);
    may
}

/// Whether no more may be answered now.
#[inline(always)]
pub fn is_flooded() -> bool {
    FOREIGN_ANSWERS
        .get(0)
        .is_some_and(|answered| answered.count >= MOST && answered.window == window())
}
