//! The cookies of the accept hand-off, made and checked with the secrets of a running agent.

use std::net::{SocketAddr, SocketAddrV4};
use std::thread;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use proxyip_common::address::{Local, Peer};
use proxyip_common::cookie::{Agreed, Check, EPOCH_NS, FlowHash, Secret, epoch, epoch_of};

use crate::maps::secrets;
use crate::site::Site;

/// What the kernel programs make cookies from.
#[derive(Debug)]
pub struct Cookies {
    secrets: Vec<Secret>,
    epoch: u64,
}

impl Cookies {
    /// Those of this site's agent. The epoch lasts for some time still: it is waited for if need be.
    ///
    /// # Panics
    /// When there is no agent.
    #[must_use]
    pub fn of(site: &Site) -> Self {
        const SOME_TIME_NS: u64 = 20_000_000_000;
        while EPOCH_NS - now_ns() % EPOCH_NS < SOME_TIME_NS {
            thread::sleep(Duration::from_millis(100));
        }
        Self { secrets: secrets(site), epoch: epoch(now_ns(), EPOCH_NS) }
    }

    /// The cookie that answers a SYN with sequence number `isn` so many epochs from now.
    #[must_use]
    pub fn make(
        &self,
        epochs: i64,
        from: SocketAddrV4,
        to: SocketAddrV4,
        isn: u32,
        options: Agreed,
    ) -> u32 {
        // As in the kernel programs, also on a machine that has just been started.
        self.hash(self.epoch.wrapping_add_signed(epochs), from, to).cookie(isn, options)
    }

    /// What the kernel programs have to think of `cookie` now.
    #[must_use]
    pub fn check(&self, from: SocketAddrV4, to: SocketAddrV4, isn: u32, cookie: u32) -> Check {
        self.hash(epoch_of(cookie, self.epoch), from, to).check(cookie, isn)
    }

    fn hash(&self, epoch: u64, from: SocketAddrV4, to: SocketAddrV4) -> FlowHash {
        let slots = u64::try_from(self.secrets.len()).expect("a few");
        let slot = usize::try_from(epoch % slots).expect("a few");
        let (peer, local) = (Peer::from(SocketAddr::V4(from)), Local::from(SocketAddr::V4(to)));
        FlowHash::new(self.secrets[slot], epoch, &peer, &local)
    }
}

/// Nanoseconds of the clock that the kernel programs go by.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock");
    Duration::from(now).as_nanos().try_into().expect("a few centuries")
}
