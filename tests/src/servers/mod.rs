//! Servers that have never heard of the PROXY protocol.

mod echo;
mod nginx;
mod postgres;
mod ruby;
mod sshd;

pub use echo::{AcceptCall, EchoServer, PeerNames};
pub use nginx::{Authority, Nginx};
pub use postgres::Postgres;
pub use ruby::RubyEcho;
pub use sshd::Sshd;
