//! The kernel object and what is loaded from it: programs, links, filters, pins, and reading maps in bulk.

pub mod attached;
pub mod buckets;
pub mod cgroup_link;
pub mod direction;
pub mod filters;
pub mod inventory;
pub mod links;
pub(crate) mod loaded;
pub mod loader;
pub mod lookups;
pub mod object;
pub mod pins;
pub mod pod;
pub mod poll;
pub mod probe;
pub mod programs;
