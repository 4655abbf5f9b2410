//! Starting, reloading and stopping the agent.

pub(crate) mod attachments;
pub mod detach;
pub mod follow;
pub(crate) mod instances;
pub mod kernel;
pub mod lock;
pub mod maintenance;
pub(crate) mod notify;
pub(crate) mod of_namespace;
pub(crate) mod parts;
pub mod policy;
mod relay;
pub mod reload;
pub mod run;
pub mod served;
mod socket_option;
pub(crate) mod targets;
