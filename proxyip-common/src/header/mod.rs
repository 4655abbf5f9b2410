//! The PROXY protocol grammar, versions 1 and 2.
//!
//! Source: the PROXY protocol specification, `doc/proxy-protocol.txt` in the HAProxy repository
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>); sections are cited by number.
//!
//! The kernel programs and the agent run this same code. Its form serves the BPF verifier. It reads its input through
//! [`Source`] and never holds a reference into it. It works in steps ([`Parser::step`]), and the [`Parser`] holds all
//! that changes. The kernel programs call the step as a global function: the verifier checks it once, not once for
//! each history that can lead there.

#[cfg(test)]
mod any_tests;
mod crc32c;
mod error;
pub mod long;
mod parsed;
mod parser;
mod source;
#[cfg(test)]
mod tests;
pub mod tlv;
pub mod v1;
pub mod v2;

pub use error::HeaderError;
pub use parsed::Header;
pub use parser::{Parser, Version, version};
pub use source::{MAX_LENGTH, Source};

/// The longest header that there can be, in bytes.
pub const LONGEST: usize = v2::FIXED_LENGTH + 0xffff;

/// Reads the header at the start of a connection's payload.
///
/// # Errors
/// Those of [`Parser::step`].
pub fn parse<S: Source + ?Sized>(source: &S) -> Result<Header, HeaderError> {
    if version(source)? == Version::V2 && v2::length(source)? > MAX_LENGTH {
        return long::parse(source);
    }
    let mut parser = Parser::START;
    while parser.step(source)? {}
    Ok(parser.header)
}
