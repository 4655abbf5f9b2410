//! The kernel programs of proxyip, without their entry points; `docs/architecture` says how they work together.
#![cfg_attr(target_arch = "bpf", no_std)]
#![allow(
    clippy::cast_possible_truncation,
    reason = "lengths are bounded by what a packet can hold"
)]
#![allow(clippy::cast_possible_wrap, reason = "flags and sizes that are small")]
#![allow(
    clippy::needless_borrows_for_generic_args,
    reason = "a map's key by value would be copied to the stack, of which there are 512 bytes"
)]
#![allow(clippy::inline_always, reason = "the verifier wants one function for each program")]
#![allow(missing_docs, unreachable_pub, reason = "used by the entry points alone")]
#![allow(clippy::must_use_candidate, reason = "used by the entry points and by tests")]

mod act;
mod decide;
mod decision;
mod frame;
mod header;
pub mod hooks;
#[cfg(not(target_arch = "bpf"))]
pub mod host;
pub mod kernel;
#[cfg(not(target_arch = "bpf"))]
pub mod machine;
mod state;
