//! Many lookups of the agent's in one system call (`BPF_PROG_TEST_RUN`).

use core::ffi::c_void;

use proxyip_common::{
    flow::FlowKey,
    lookup::{Answer, OFFSET, SLOTS},
};

use crate::{
    kernel::{
        bindings::__sk_buff,
        helpers::{bpf_skb_load_bytes, bpf_skb_store_bytes},
        packet::raw,
        programs::TcContext,
    },
    state::flows::FLOWS,
};

/// As large as a key.
const SLOT: u32 = size_of::<Answer>() as u32;

/// Puts answers into the places of the keys, up to the packet's end.
#[inline(always)]
pub fn answer(ctx: &TcContext) {
    for slot in 0..SLOTS as u32 {
        if !answer_one(raw(ctx), OFFSET as u32 + slot * SLOT) {
            return;
        }
    }
}

/// False behind the last key.
#[inline(always)]
fn answer_one(skb: *mut __sk_buff, at: u32) -> bool {
    let mut words = [0_u64; size_of::<FlowKey>() / 8];
    let bytes = (&raw mut words).cast::<c_void>();
    // SAFETY: as many bytes as there are.
    if unsafe { bpf_skb_load_bytes(skb.cast(), at, bytes, SLOT) } != 0 {
        return false;
    }
    // SAFETY: as large, as aligned, and any bytes are a key.
    let key = unsafe { &*(&raw const words).cast::<FlowKey>() };
    let mut answer = Answer::NONE;
    if let Some(record) = FLOWS.get_ptr(key) {
        // SAFETY: an element of the map; at worst it is another flow's by now.
        unsafe {
            if (*record).established_ns != 0 {
                answer.found = 1;
                answer.client = (*record).client;
            }
        }
    }
    // SAFETY: as many bytes as the answer has.
    unsafe { bpf_skb_store_bytes(skb, at, (&raw const answer).cast(), SLOT, 0) == 0 }
}
