//! Packets, as the kernel hands them to a program.

use crate::kernel::{bindings::__sk_buff, programs::TcContext};

/// The context as the raw helpers want it.
#[inline(always)]
pub fn raw(ctx: &TcContext) -> *mut __sk_buff {
    ctx.skb.skb
}

/// In `tc_index` of the clone that carries the payload. A clone that finds no socket must not count as a first
/// segment again. Otherwise a connection that TCP refuses would come back forever.
pub const QUEUED_MARK: u32 = 0x5050;

/// Whether this skb is the clone that this program queued; takes the mark off it.
#[inline(always)]
pub fn take_queued_mark(ctx: &TcContext) -> bool {
    let skb = raw(ctx);
    // SAFETY: a field of the context.
    unsafe {
        let queued = (*skb).tc_index == QUEUED_MARK;
        if queued {
            (*skb).tc_index = 0;
        }
        queued
    }
}
