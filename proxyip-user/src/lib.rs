//! The agent and command line of proxyip, in rooms. Imports go one way: each room uses those above it in this list.
//!
//! - [`config`]: what to guard, from a file or from flags; [`inputs`]: what it names outside itself.
//! - [`desired`]: what the maps must say; nothing here touches the host.
//! - [`host`]: namespaces, sysctls, routes. [`bpf`]: programs, links, pins. [`tables`]: the maps, typed.
//! - [`reconcile`]: writes the maps. [`watch`]: reads the counters. [`reap`]: ends what is over.
//! - [`flowlog`]: from events to lines, and the memory of TLVs.
//! - [`api`]: HTTP, and the line protocol; [`client`] asks it.
//! - [`preflight`]: what `proxyip check` looks at. [`lifecycle`]: start, reload, stop. [`cli`]: one file per verb.
//! - [`reference`]: what documents say of all these.

#![deny(unsafe_code)]

pub mod api;
#[expect(
    unsafe_code,
    reason = "bpf(2) calls that the library does not make, and what the kernel writes into memory"
)]
pub mod bpf;
pub mod cli;
pub mod client;
mod clock;
pub mod config;
pub mod desired;
mod direction;
pub mod flowlog;
#[cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "a function of the C library"))]
mod heap;
pub mod host;
pub mod inputs;
mod json;
pub mod lifecycle;
mod mailbox;
pub mod preflight;
pub mod reap;
pub mod reconcile;
pub mod reference;
mod steps;
mod supervise;
pub mod tables;
pub mod watch;
