//! The kernel programs of proxyip, but for their entry points; `docs/architecture.md` tells how they work together.
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
#![allow(clippy::must_use_candidate, reason = "likewise, and by tests")]

mod accept;
mod acknowledge;
mod checksum;
mod count;
pub mod egress;
mod event;
mod extensions;
mod first;
mod handover;
mod header;
#[cfg(not(target_arch = "bpf"))]
pub mod host;
pub mod ingress;
mod intact;
mod judge;
mod kernel;
mod kfunc;
mod latency;
pub mod lookup;
mod maps;
mod observe;
mod options;
mod packet;
mod parse;
pub mod peername;
pub mod platform;
mod policy;
mod reply;
mod route;
pub mod set;
mod socket;
pub mod sockops;
pub mod sockopt;
mod split;
mod syn;
mod translate;
