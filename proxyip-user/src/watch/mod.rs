//! Watches the counters for what the operator or the agent must act on.

pub mod environment;
pub mod fallbacks;
pub mod gap;
pub mod guarding;
pub mod mistakes;
pub mod reasons;
pub(crate) mod refused;
