//! The ring buffer of events.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use proxyip_common::event::{Event, RING_SIZE};
use tokio::io::unix::AsyncFd;
use zerocopy::FromBytes as _;

use super::maps::take_ring;
use crate::bpf::alarm::Alarm;
use crate::bpf::poll::{self, Ring};

/// Events taken before other work of this thread has its turn.
const BATCH: usize = 1024;

/// The ring buffer.
pub struct Events {
    buffer: RingBuf<MapData>,
}

/// The ring buffer, once it can be waited for.
pub(crate) struct Waiting {
    ring: AsyncFd<Ring>,
    alarm: Alarm,
}

impl Events {
    pub(crate) fn new(ebpf: &mut Ebpf) -> Result<Self> {
        Ok(Self { buffer: take_ring(ebpf, "EVENTS")? })
    }

    /// To be called in a runtime.
    ///
    /// # Errors
    /// If the buffer cannot be waited for.
    pub(crate) fn wait(self) -> Result<Waiting> {
        let ring = poll::events(self.buffer).context("the event buffer cannot be polled")?;
        Ok(Waiting { ring, alarm: Alarm::new().context("no timer")? })
    }
}

impl Waiting {
    /// Calls `handle` for each event with the header bytes that follow it, and `after_batch` behind each batch of them,
    /// until dropped.
    ///
    /// # Errors
    /// If the buffer cannot be waited for.
    pub(crate) async fn run(
        &self,
        handle: impl Fn(&Event, &[u8]),
        after_batch: impl Fn(),
    ) -> Result<Infallible> {
        /// How often to look: the kernel programs wake the agent only when the ring fills up.
        const PERIOD: Duration = Duration::from_millis(20);
        /// The same when the last looks have found nothing.
        const QUIET: Duration = Duration::from_millis(100);
        /// So many looks.
        const LOOKS: u32 = 50;

        let mut fruitless = 0_u32;
        loop {
            self.alarm.set(if fruitless < LOOKS { PERIOD } else { QUIET })?;
            tokio::select! {
                rung = self.alarm.rings() => rung?,
                ready = self.ring.readable() => {
                    ready?.clear_ready();
                    // The kernel programs do not wake the agent a second time.
                    fruitless = 0;
                }
            }
            let mut taken = self.take(&handle);
            fruitless = if taken == 0 { fruitless.saturating_add(1) } else { 0 };
            after_batch();
            while taken == BATCH {
                tokio::task::yield_now().await;
                taken = self.take(&handle);
                after_batch();
            }
        }
    }

    /// Calls `handle` for each event that has waited until now, and for a bounded number of those that come meanwhile.
    pub(crate) fn catch_up(&self, handle: impl Fn(&Event, &[u8])) {
        /// The ring has no room for more events than these batches have.
        const BATCHES: usize = RING_SIZE / (BATCH * size_of::<Event>()) + 1;

        for _ in 0..BATCHES {
            if self.take(&handle) < BATCH {
                return;
            }
        }
    }

    /// Calls `handle` for a batch of events. Returns how many there were.
    fn take(&self, handle: impl Fn(&Event, &[u8])) -> usize {
        let mut buffer = self.ring.get_ref().0.borrow_mut();
        let mut taken = 0;
        while taken < BATCH
            && let Some(item) = buffer.next()
        {
            if let Some((event, header)) = decode(&item) {
                handle(&event, header);
            }
            taken += 1;
        }
        taken
    }
}

/// The event and the header bytes behind it; `None` for an item of another size.
fn decode(item: &[u8]) -> Option<(Event, &[u8])> {
    let (event, rest) = Event::read_from_prefix(item).ok()?;
    let header = rest.get(..usize::from(event.header_length))?;
    Some((event, header))
}

#[cfg(test)]
mod tests {
    use zerocopy::{FromZeros as _, IntoBytes as _};

    use super::*;

    #[test]
    fn an_item_has_an_event_and_as_many_header_bytes_as_the_event_says() {
        let mut sent = Event::new_zeroed();
        (sent.time_ns, sent.kind, sent.header_length) = (7, 1, 3);
        let item = [sent.as_bytes(), b"abc and what the ring has behind it"].concat();

        let (event, header) = decode(&item).expect("an event");
        assert_eq!((event.time_ns, event.kind, header), (7, 1, b"abc".as_slice()));
        let length = size_of::<Event>();
        assert!(decode(&item[..length + 2]).is_none(), "two of three header bytes");
        assert!(decode(&item[..length - 1]).is_none(), "no whole event");
    }
}
