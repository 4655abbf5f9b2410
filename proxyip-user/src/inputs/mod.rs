//! What a configuration names that lies outside of it.

pub mod watch;
