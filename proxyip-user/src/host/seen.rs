//! What was last seen of a network namespace, for those who are not in it.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// What was last seen of a namespace. One thread writes it, others read.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The namespace's.
    cookie: AtomicU64,
    /// The namespace's place in `NAMESPACES`.
    place: u32,
    nat_since_ns: AtomicU64,
    flags: AtomicU8,
    fin_timeout: AtomicU64,
    overflows: AtomicU64,
    routes: AtomicUsize,
    routes_left: AtomicUsize,
}

impl Seen {
    /// A namespace with these flags.
    #[cfg(test)]
    pub(crate) fn of(flags: u8) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self { flags: flags.into(), ..Self::default() })
    }

    /// The namespace with this cookie, and this place in `NAMESPACES`.
    pub(crate) fn new(cookie: u64, place: u32) -> Self {
        Self { cookie: cookie.into(), place, ..Self::default() }
    }

    /// The namespace's place in `NAMESPACES`.
    pub(crate) const fn place(&self) -> u32 {
        self.place
    }

    /// When rules of NAT last changed, in nanoseconds of `CLOCK_MONOTONIC`; 0 if there are none.
    pub(crate) fn nat_since_ns(&self) -> u64 {
        self.nat_since_ns.load(Ordering::Relaxed)
    }

    pub(crate) fn set_nat_since_ns(&self, since_ns: u64) {
        self.nat_since_ns.store(since_ns, Ordering::Relaxed);
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

    /// How many routes the kernel programs' table has of the namespace.
    pub(crate) fn routes(&self) -> usize {
        self.routes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_routes(&self, routes: usize) {
        self.routes.store(routes, Ordering::Relaxed);
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
