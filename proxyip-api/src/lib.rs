//! What the agent's API and flow log say, as types: the server writes them, the command line and the tests read them.
//!
//! Nothing here does anything. A field that an older agent lacks has a default, so that newer tools read older answers.

pub mod acl;
pub mod check;
pub mod clients;
pub mod config;
pub mod difference;
pub mod drain;
pub mod finding;
pub mod flow;
pub mod health;
pub mod line;
pub mod reload;
pub mod status;
pub mod tlvs;
