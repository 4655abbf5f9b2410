//! Brings the maps in line with what is wanted.

pub mod access;
pub mod acl;
pub mod control;
mod disconnect;
pub mod drain;
mod fallbacks;
pub mod files;
mod followed;
pub(crate) mod followers;
pub(crate) mod listeners;
pub mod namespaces;
mod orders;
pub mod places;
pub mod reloads;
pub mod remark;
mod routes;
mod rules;
pub mod scopes;
pub(crate) mod set_members;
pub mod sets;
pub mod writer;
