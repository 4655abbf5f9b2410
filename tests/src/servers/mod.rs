//! Servers: most have never heard of the PROXY protocol.

mod accept_queue;
mod echo;
mod haproxy;
mod journald;
mod nginx;
mod postgres;
mod ruby;
mod sshd;

pub use accept_queue::AcceptQueue;
pub use echo::{AcceptCall, EchoServer, PeerNames};
pub use haproxy::AcceptProxy;
pub use journald::Journald;
pub use nginx::{Authority, Nginx};
pub use postgres::Postgres;
pub use ruby::RubyEcho;
pub use sshd::Sshd;
