//! A simulated kernel: what the programs need to run on the host, in unit tests and under a fuzzer.
//!
//! It has the interface of the crate that the programs use on the BPF target, and the kernel's rules: what the kernel
//! refuses is refused here, and what the verifier would refuse (a socket that is not released) is a panic. All its
//! state belongs to one thread. The programs are called from above, by `machine`.

mod assign;
pub mod frame;
pub mod helpers;
pub mod maps;
mod numbers;
pub mod programs;
pub mod sockets;
pub mod state;
mod table;
pub mod wire;
mod xdp;

use core::ffi::c_void;

pub use aya_ebpf_bindings::bindings;
pub use aya_ebpf_macros as macros;
pub use maps as btf_maps;
use proxyip_common::settings::KFUNC_ASSIGN;
pub use sockets::offsets;

/// A context of any kind.
pub trait EbpfContext {
    /// The context as the helpers want it.
    fn as_ptr(&self) -> *mut c_void;
}

/// A number that the agent sets before it loads the programs.
pub struct Global<T>(T);

impl<T: Copy> Global<T> {
    /// With the value that it has unless it is set.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value.
    pub fn load(&self) -> T {
        self.0
    }
}

/// The address of the kernel function that stands behind a placeholder.
pub fn function(address: u32) -> usize {
    assert_eq!(address, KFUNC_ASSIGN, "an unknown kernel function");
    assign::assign as *const () as usize
}

/// Whether messages are made: they are, so that their arguments are evaluated.
pub const fn has_messages() -> bool {
    true
}

/// Messages for the agent go nowhere, but their arguments are evaluated.
macro_rules! message {
    ($ctx:expr, $format:literal $(, $argument:expr)* $(,)?) => {{
        let _ = ($ctx, $(&$argument),*);
    }};
}

pub(crate) use {message as debug, message as trace};
