//! The maps that the kernel programs share with the agent, typed.

pub mod drained;
pub mod events;
pub mod fill;
pub mod listeners;
pub mod maps;
pub(crate) mod muted;
pub mod outcomes;
pub mod owners;
pub mod ports;
pub mod programs;
pub(crate) mod redirected;
pub(crate) mod routes;
pub mod secrets;
pub mod sources;
pub mod tally;
pub mod translations;
pub mod trie;
