//! Loops that the verifier walks once, however often they run.

use core::{ffi::c_void, ops::ControlFlow};

use aya_ebpf::helpers::bpf_loop;

/// What the callback gets.
struct Context<'a, T, F> {
    state: &'a mut T,
    step: &'a F,
}

/// Calls `step` with `state` until it breaks, at most `times` times, with `bpf_loop()`.
///
/// What changes from one step to the next must be in map memory: the verifier would follow the values of
/// everything else.
#[inline(always)]
pub fn repeat<T, F: Fn(&mut T) -> ControlFlow<()>>(times: u32, state: &mut T, step: F) {
    let mut context = Context { state, step: &step };
    // SAFETY: the callback gets the context that it expects, which outlives the loop.
    unsafe {
        bpf_loop(
            times,
            (callback::<T, F> as *const ()).cast_mut().cast(),
            (&raw mut context).cast(),
            0,
        );
    }
}

/// Returns 0 to go on and 1 to stop.
extern "C" fn callback<T, F: Fn(&mut T) -> ControlFlow<()>>(
    _index: u32,
    context: *mut c_void,
) -> i64 {
    // SAFETY: bpf_loop() passes on the context that it was given.
    let context = unsafe { &mut *context.cast::<Context<'_, T, F>>() };
    (context.step)(context.state).is_break().into()
}
