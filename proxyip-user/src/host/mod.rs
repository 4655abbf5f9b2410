//! The host as it is: network namespaces, sysctls, routes and counters.

pub(crate) mod bpffs;
pub mod capability;
pub(crate) mod changes;
pub(crate) mod entrance;
pub mod links;
pub mod matching;
pub mod mounts;
pub mod namespace;
pub mod nat;
pub(crate) mod netlink;
pub mod netstat;
pub(crate) mod nsid;
pub(crate) mod real_time;
pub mod roots;
pub mod routes;
pub mod seen;
pub(crate) mod served;
pub mod sockets;
pub mod sysctl;
