//! Bounds on connections, requests and memory.

pub mod descriptors;
pub mod permits;
pub mod room;
