//! Starting, reloading and stopping the agent.

mod assembly;
pub(crate) mod attachments;
pub mod detach;
mod directories;
mod failed;
pub mod follow;
pub(crate) mod instances;
mod interface;
mod interface_steps;
pub mod kernel;
pub mod lock;
mod looked;
pub mod maintenance;
pub(crate) mod notify;
pub(crate) mod of_namespace;
pub(crate) mod parts;
pub(crate) mod patterns;
pub mod policy;
mod relay;
pub mod reload;
mod requests;
pub mod run;
pub mod served;
mod shared;
mod socket_option;
pub(crate) mod targets;
