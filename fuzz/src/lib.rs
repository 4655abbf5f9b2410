//! What the fuzz targets check. Each panics if it finds something.
//!
//! - [`grammar`]: a PROXY header is judged alike however its bytes arrive.
//! - [`differential`]: other parsers judge it alike, but for what is listed.
//! - [`packet`]: the kernel programs, on a host that is simulated.
//!
//! [`sample`] makes headers of a fuzzer's bytes.

pub mod differential;
pub mod disagreements;
pub mod grammar;
pub mod packet;
pub mod sample;
