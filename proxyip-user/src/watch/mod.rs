//! Watches the counters for what the operator or the agent must act on.

pub mod early;
pub mod environment;
pub mod fallbacks;
mod forbidden;
pub mod gap;
mod gap_cause;
pub mod guarding;
mod looks;
pub mod mistakes;
pub mod reasons;
pub(crate) mod refused;
