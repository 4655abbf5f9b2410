//! From the bytes of a frame to a segment, and from an answer to the bytes of its headers.

pub mod checksum;
pub mod early;
pub mod extensions;
pub mod ip;
pub mod options;
pub mod parse;
pub mod ports;
pub mod reply;
pub mod segment;
pub mod tcp;
