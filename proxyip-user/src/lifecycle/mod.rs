//! Starting, reloading and stopping the agent.

pub(crate) mod attachments;
pub mod detach;
pub mod kernel;
pub mod lock;
pub mod maintenance;
pub(crate) mod notify;
pub mod policy;
pub mod reload;
pub mod run;
pub mod served;
