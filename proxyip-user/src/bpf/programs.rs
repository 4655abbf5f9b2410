//! The names of the programs in the kernel object.

pub(crate) const INGRESS: &str = "proxyip_ingress";
/// Where the kernel lacks the function that the other calls.
pub(crate) const INGRESS_BASIC: &str = "proxyip_ingress_basic";
pub(crate) const EGRESS: &str = "proxyip_egress";
/// For rules of iptables.
pub(crate) const SET: &str = "proxyip_set";
/// For many lookups at once.
pub(crate) const LOOKUP: &str = "proxyip_lookup";
pub(crate) const SOCK_OPS: &str = "proxyip_sockops";
pub(crate) const GETPEERNAME: [&str; 2] = ["proxyip_getpeername4", "proxyip_getpeername6"];
/// Runs for every `getsockopt()` of the host, so that it is loaded only if it is wanted.
pub(crate) const GETSOCKOPT: &str = "proxyip_getsockopt";
