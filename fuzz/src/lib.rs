//! What the fuzz targets check. Each panics if it finds something.
//!
//! - [`grammar`]: the verdict on a PROXY header does not depend on how its bytes arrive.
//! - [`differential`]: other parsers give the same verdict, except in the listed cases.
//! - [`packet`]: the kernel programs, on a simulated host.
//!
//! [`sample`] makes headers of a fuzzer's bytes.

pub mod differential;
pub mod disagreements;
pub mod grammar;
pub mod packet;
pub mod sample;
