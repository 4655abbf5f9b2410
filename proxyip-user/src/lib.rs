//! The agent and command line of proxyip.
//!
//! - [`cli`]: one file per verb; [`client`] is how reading verbs reach the agent.
//! - [`config`]: what to guard, from a file or from flags.
//! - [`kernel`]: loads, attaches and pins the kernel programs; reads their maps and events.
//! - [`recorder`]: from events to [`flows`] (memory of TLVs), [`flow_log`] and [`warnings`]; [`line`] and [`vpc`] are
//!   the log's formats.
//! - [`api`]: HTTP, and the line protocol. [`flow`] and [`tlvs`] are the JSON that it and the log share.

pub mod acl;
pub mod active;
pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod flow;
pub mod flow_log;
pub mod flows;
mod journal;
mod json;
pub mod kernel;
pub mod line;
pub mod lock;
pub mod losses;
pub mod period;
pub mod recorder;
mod reload;
pub mod tlvs;
mod unix_socket;
pub mod vpc;
pub mod warnings;
mod watch;
