//! The cookie's secrets: random, and changed with the epochs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{Array, MapData};
use proxyip_common::cookie::{SECRETS, Secret, epoch};

use super::maps::take_owned;
use super::owners::claim;
use crate::clock::{nanoseconds, now_ns};

/// How long an epoch of cookies lasts, now and later: `agent.handshake_timeout`.
#[derive(Clone, Debug)]
pub(crate) struct EpochLength(Arc<AtomicU64>);

impl EpochLength {
    pub(crate) fn new(handshake_timeout: Duration) -> Self {
        Self(Arc::new(AtomicU64::new(nanoseconds(handshake_timeout))))
    }

    /// Whoever writes it into the maps does so within a second.
    pub(crate) fn set(&self, handshake_timeout: Duration) {
        self.0.store(nanoseconds(handshake_timeout), Ordering::Relaxed);
    }

    /// In nanoseconds.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Writes the secrets.
pub(crate) struct Secrets {
    map: Array<MapData, Secret>,
    pub(crate) epoch_length: EpochLength,
    epoch: u64,
}

impl Secrets {
    /// Fills the empty slots. The secrets of an agent before this one stay, because handshakes in flight depend on
    /// them. A secret's time is the handshake's.
    pub(crate) fn new(ebpf: &mut Ebpf, epoch_length: EpochLength) -> Result<Self> {
        let mut map: Array<MapData, Secret> = take_owned(ebpf, &claim!("SECRETS"))?;
        for slot in 0..SECRETS {
            if map.get(&slot, 0).context("the secrets cannot be read")? == [0; 2] {
                set(&mut map, slot)?;
            }
        }
        let epoch = epoch(now_ns()?, epoch_length.get());
        Ok(Self { map, epoch_length, epoch })
    }

    /// When an epoch has begun, renews the secret of the epoch after the next. Should the agent not live to
    /// do so, old secrets come round again, but never with the same epoch in the hash. Another length of the epochs changes the
    /// epoch, too.
    pub(crate) fn rotate(&mut self) -> Result<()> {
        let now = epoch(now_ns()?, self.epoch_length.get());
        if now != self.epoch {
            self.epoch = now;
            let slot = (now + 2) % u64::from(SECRETS);
            set(&mut self.map, u32::try_from(slot).expect("below SECRETS"))?;
        }
        Ok(())
    }
}

fn set(map: &mut Array<MapData, Secret>, slot: u32) -> Result<()> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("no random numbers")?;
    let (low, high) = bytes.split_at(8);
    let word = |half: &[u8]| u64::from_ne_bytes(half.try_into().expect("8 bytes"));
    map.set(slot, [word(low), word(high)], 0).context("the secrets cannot be written")
}
