//! The object with the programs in front: each namespace has its own, and they are loaded often. On the host it is nothing.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod fronts;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
