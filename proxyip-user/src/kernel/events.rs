//! The ring buffer of events.

use std::convert::Infallible;
use std::mem::size_of;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use proxyip_common::event::Event;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{MissedTickBehavior, interval};

use super::maps::take;

/// The ring buffer.
pub struct Events {
    buffer: RingBuf<MapData>,
}

impl Events {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self> {
        Ok(Self { buffer: take(ebpf, "EVENTS")? })
    }

    /// Calls `handle` for each event with the header bytes that follow it, until dropped.
    ///
    /// # Errors
    /// If the buffer cannot be waited for.
    pub async fn run(self, mut handle: impl FnMut(&Event, &[u8])) -> Result<Infallible> {
        /// Events taken before other work of this thread has its turn.
        const BATCH: usize = 1024;
        /// How often to look: the kernel programs wake the agent only when the ring fills up.
        const PERIOD: Duration = Duration::from_millis(20);

        // SAFETY: the descriptor is the map's, open until the buffer is dropped, and never another one.
        let buffer = unsafe { AsyncFd::register_with_interest(self.buffer, Interest::READABLE) };
        let mut buffer = buffer.context("the event buffer cannot be polled")?;
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                ready = buffer.readable_mut() => ready?.clear_ready(),
            }
            let mut taken = 0;
            while let Some(item) = buffer.get_mut().next() {
                if let Some((event, header)) = decode(&item) {
                    handle(&event, header);
                }
                taken += 1;
                if taken % BATCH == 0 {
                    drop(item);
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

/// The event and the header bytes behind it; `None` for an item of another size.
fn decode(item: &[u8]) -> Option<(Event, &[u8])> {
    let (fixed, rest) = item.split_at_checked(size_of::<Event>())?;
    // SAFETY: the bytes are as many as the type has, which is `repr(C)` and made of integers only.
    let event = unsafe { fixed.as_ptr().cast::<Event>().read_unaligned() };
    let header = rest.get(..usize::from(event.header_length))?;
    Some((event, header))
}
