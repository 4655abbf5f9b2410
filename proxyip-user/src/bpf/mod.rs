//! The kernel object and what is loaded from it: programs, links, filters, pins, and reading maps in bulk.

pub(crate) mod alarm;
pub mod attached;
pub(crate) mod batch;
pub mod btf;
pub mod buckets;
pub mod calls;
pub mod cgroup;
pub(crate) mod definition;
pub mod direction;
pub mod driver;
pub(crate) mod entries;
pub mod filters;
mod fronts;
mod globals;
pub mod in_place;
pub mod inventory;
#[cfg(test)]
mod layout_tests;
pub mod links;
pub(crate) mod loaded;
pub mod loader;
pub mod lookups;
pub mod object;
pub(crate) mod other_layouts;
pub(crate) mod patience;
pub mod pinned_maps;
pub mod pins;
pub mod pod;
pub mod poll;
pub mod probe;
pub mod programs;
mod raw_map;
pub(crate) mod set_programs;
pub mod sockets;
pub mod strays;
pub(crate) mod takeover;
