//! What a configuration points at on this host: files of networks, and groups.
//!
//! The text alone is the business of [`config`](crate::config). What is wrong here is reported in the same form, and with
//! what is wrong with the text, all at once.

mod again;
mod network_file;
mod resolve;
#[cfg(test)]
mod tests;
pub mod watch;

pub use self::again::ReadAgain;
pub use self::network_file::{NetworkFileError, read_networks};
