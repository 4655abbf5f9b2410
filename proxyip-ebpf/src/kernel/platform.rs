//! What differs between kernels, known when a program is compiled: each has its own entry point.

/// The kernels that a program is made for.
///
/// A type names them at each entry point and in each message of the compiler. A `const` parameter of type `bool` would be
/// a bare `true` there, and would make a new parameter everywhere when a second difference comes.
pub trait Platform {
    /// Whether the accept hand-off is possible.
    const ACCEPT: bool;
}

/// Linux 6.9 and later: `bpf_sk_assign_tcp_reqsk()` is there.
pub struct Modern;

/// Linux 5.10 and later.
pub struct Basic;

impl Platform for Modern {
    const ACCEPT: bool = true;
}

impl Platform for Basic {
    const ACCEPT: bool = false;
}
