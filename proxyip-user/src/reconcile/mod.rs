//! Brings the maps in line with what is wanted.

pub mod acl;
pub mod control;
pub mod drain;
pub(crate) mod listeners;
pub mod namespaces;
pub mod places;
pub mod reloads;
mod routes;
pub mod scopes;
pub(crate) mod set_members;
pub mod sets;
pub mod stale;
pub mod writer;
