//! The schema: every key of the configuration, once.
//!
//! The parser reads a key by its entry here, so that it knows the same names, choices and ranges. The table in
//! `docs/configuration.md`, the JSON Schema and proxyip.toml(5) are written from the same entries.

mod entry;
mod json;
mod keys;
#[cfg(test)]
pub(crate) mod tests;

pub(super) use self::entry::{
    Choice, Choices, Flag, Key, NetworkList, Number, Path, Seconds, Text,
};
pub use self::entry::{Described, Effect, Fallback, Form, Kind, Most, Need, Section, Shape};
pub use self::json::json_schema;
pub use self::keys::SECTIONS;
pub(super) use self::keys::{agent, api, interface, listener, log, set};
