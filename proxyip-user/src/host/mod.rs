//! The host as it is: network namespaces, sysctls, routes and counters.

pub mod namespace;
pub mod netstat;
pub mod routes;
pub mod sysctl;
