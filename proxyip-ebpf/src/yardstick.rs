//! The object with the programs that measure the others (`cargo xtask bench packets`). On the host it is nothing.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod yardsticks;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
