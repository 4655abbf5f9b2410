//! Watches the counters for what the operator or the agent must act on.

pub(crate) mod delayed;
pub mod early;
pub mod environment;
pub mod fallbacks;
mod forbidden;
pub mod full;
pub mod gap;
mod gap_cause;
pub mod guarding;
mod looks;
pub mod mistakes;
mod overflows;
pub mod reasons;
pub mod redirects;
pub(crate) mod refused;
