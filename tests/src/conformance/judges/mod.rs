//! The judges.

mod crates;
mod kernel;
mod parser;
mod servers;
mod wire;

pub(super) use crates::{ppp, proxy_header, proxyproto};
pub(super) use kernel::kernel;
pub(super) use parser::parser;
pub(super) use servers::servers;
