//! Brings the maps in line with what is wanted, and is the only one to write them.

pub mod acl;
pub mod control;
pub mod namespaces;
pub mod places;
pub mod reloads;
pub mod scopes;
pub mod sets;
pub mod stale;
pub mod writer;
