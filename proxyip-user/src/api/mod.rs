//! What a running agent answers: HTTP/1.1 with JSON on a Unix socket and a TCP address, and the line protocol.

pub mod answer;
mod browsers;
pub mod failure;
pub mod leaving;
pub mod limits;
pub mod lines;
pub mod listen;
pub mod openapi;
pub mod owner;
pub mod page;
pub mod query;
mod router;
pub mod routes;
pub mod server;
pub mod serving;
pub mod sockets;
pub mod source;
pub mod state;
#[cfg(test)]
mod tests;
pub mod unix_socket;
pub mod view;

pub use self::serving::{NextApi, Server};
pub use self::sockets::Sockets;
pub use self::source::Source;
pub use self::state::{Parts, Shared};
