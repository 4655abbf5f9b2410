//! What was last seen of a network namespace, for those who are not in it.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// What was last seen of a namespace. One thread writes it, others read.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The namespace's.
    cookie: AtomicU64,
    flags: AtomicU8,
    fin_timeout: AtomicU64,
    overflows: AtomicU64,
    routes_left: AtomicUsize,
}

impl Seen {
    /// A namespace with these flags.
    #[cfg(test)]
    pub(crate) fn of(flags: u8) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self { flags: flags.into(), ..Self::default() })
    }

    /// The namespace with this cookie.
    pub(crate) fn with_cookie(cookie: u64) -> Self {
        Self { cookie: cookie.into(), ..Self::default() }
    }

    /// The namespace's cookie.
    pub(crate) fn cookie(&self) -> u64 {
        self.cookie.load(Ordering::Relaxed)
    }

    /// Flags of [`NamespaceSettings`](proxyip_common::settings::NamespaceSettings).
    pub(crate) fn flags(&self) -> u8 {
        self.flags.load(Ordering::Relaxed)
    }

    /// `net.ipv4.tcp_fin_timeout`.
    pub(crate) fn fin_timeout(&self) -> Duration {
        Duration::from_secs(self.fin_timeout.load(Ordering::Relaxed))
    }

    /// How often an accept queue was full.
    pub(crate) fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::Relaxed)
    }

    pub(crate) fn set_flags(&self, flags: u8) {
        self.flags.store(flags, Ordering::Relaxed);
    }

    /// In seconds.
    pub(crate) fn set_fin_timeout(&self, seconds: u64) {
        self.fin_timeout.store(seconds, Ordering::Relaxed);
    }

    pub(crate) fn set_overflows(&self, overflows: u64) {
        self.overflows.store(overflows, Ordering::Relaxed);
    }

    /// How many routes find no room in the kernel programs' table.
    pub(crate) fn routes_left(&self) -> usize {
        self.routes_left.load(Ordering::Relaxed)
    }

    /// Returns how many it were before.
    pub(crate) fn set_routes_left(&self, routes: usize) -> usize {
        self.routes_left.swap(routes, Ordering::Relaxed)
    }
}
