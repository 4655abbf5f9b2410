//! A file for each resource.

pub mod acl;
pub mod clients;
pub mod config;
pub mod drain;
pub mod flows;
pub mod hand_offs;
pub mod health;
pub mod lookup;
pub mod metrics;
pub mod reload;
pub(crate) mod settings;
pub mod status;
