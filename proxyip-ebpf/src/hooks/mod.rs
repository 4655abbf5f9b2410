//! The places where the kernel calls the programs.

pub mod egress;
pub mod ingress;
pub mod iptables;
pub mod lookups;
pub mod peername;
pub mod sockops;
pub mod sockopt;
pub mod xdp;
