//! Ends what is over or not wanted any more: late headers, translated connections, sockets.

pub mod destroy;
pub mod partial_headers;
pub mod reset;
pub mod translations;
