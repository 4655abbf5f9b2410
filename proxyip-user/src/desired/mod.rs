//! What the maps must say for a configuration and the rules of commands. Nothing here reads or writes anything.

pub mod active;
pub(crate) mod lists;
pub mod networks;
pub(crate) mod plan;
pub mod rules;
pub mod settings;
pub mod targets;
pub(crate) mod xdp;
