//! How the connections of a test are given to the application.

use std::fs;
use std::sync::LazyLock;

/// What the listener's `hand_off` says, and what the servers do that may make a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOff {
    /// `auto`, and the servers listen as they always do.
    Auto,
    /// `auto`, and the servers listen with MPTCP sockets.
    Multipath,
    /// `accept`.
    Accept,
    /// `translate`.
    Translate,
    /// `observe`.
    Observe,
}

impl HandOff {
    /// The value in the configuration.
    #[must_use]
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Auto | Self::Multipath => "auto",
            Self::Accept => "accept",
            Self::Translate => "translate",
            Self::Observe => "observe",
        }
    }

    /// What an ordinary connection gets on this kernel, as flow log and status name it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Auto if *KERNEL_ACCEPTS => "accept",
            Self::Auto | Self::Multipath => "translate",
            Self::Accept | Self::Translate | Self::Observe => self.setting(),
        }
    }
}

/// Whether this kernel has what the accept hand-off needs (Linux 6.9). Reading its symbols takes a while.
static KERNEL_ACCEPTS: LazyLock<bool> = LazyLock::new(|| {
    let symbols = fs::read_to_string("/proc/kallsyms").expect("the kernel's symbols");
    symbols.lines().any(|line| line.ends_with(" bpf_sk_assign_tcp_reqsk"))
});
