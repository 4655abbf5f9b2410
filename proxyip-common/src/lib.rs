//! What the kernel programs and the agent share.
//!
//! - [`header`]: the PROXY protocol grammar, versions 1 and 2.
//! - [`address`], [`flow`] and [`partial`]: map keys and values, laid out for both sides of the kernel border.
//! - [`cookie`]: the stateless SYN cookie.
//! - [`counter`]: every counter, drop reason and reason for leaving a connection to the kernel.
//! - [`verdict`] and [`latency`]: what happens to connections, and how long their headers take.
//! - [`event`] and [`settings`]: what the kernel tells the agent and what the agent tells the kernel.
//! - [`socket_option`]: what applications can ask about a connection.
//! - [`labels!`]: lists of labels, with what each means.
//! - [`text`]: what a terminal obeys.
//!
//! Nothing here allocates, does I/O or contains `unsafe`; everything is a pure function or a plain type. Types that
//! cross the kernel border derive zerocopy's traits: one with padding does not compile.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![allow(
    clippy::inline_always,
    reason = "the verifier sees what is inlined; the kernel programs need it"
)]
#![allow(clippy::many_single_char_names, reason = "the bytes of an address have no better names")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "lengths are at most 4096, and the BPF target has no panics for checked conversions"
)]

pub mod address;
pub mod cookie;
pub mod counter;
pub mod event;
pub mod flow;
pub mod header;
mod labels;
pub mod latency;
pub mod lookup;
pub mod nat;
pub mod neighbour;
pub mod partial;
pub mod policy;
pub mod settings;
pub mod socket_option;
pub mod text;
pub mod verdict;
