//! Ends what is over or not wanted any more: late headers, translated connections, sockets.

pub mod destroy;
mod living;
pub mod partial_headers;
pub mod reset;
mod sweep;
pub mod translations;
pub mod unnoticed;
