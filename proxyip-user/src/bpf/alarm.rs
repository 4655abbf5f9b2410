//! A timer of the kernel that a runtime waits for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Rings once. A runtime's own timer wakes its threads several times on the way to a time that is more than 64 ms away.
pub(crate) struct Alarm(AsyncFd<Descriptor>);

struct Descriptor(TimerFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Alarm {
    /// To be called in a runtime.
    ///
    /// # Errors
    /// If there is no timer, or it cannot be waited for.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = Descriptor(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?);
        // SAFETY: the descriptor is the timer's, open until it is dropped, and never another one.
        Ok(Self(unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?))
    }

    /// Has it ring after this time, which is not 0, instead of whenever it was set to.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub(crate) fn set(&self, after: Duration) -> io::Result<()> {
        let once = Expiration::OneShot(TimeSpec::from_duration(after));
        Ok(self.0.get_ref().0.set(once, TimerSetTimeFlags::empty())?)
    }

    /// Returns when it rings. If it is dropped, it may return at once the next time.
    ///
    /// # Errors
    /// If the runtime ends.
    pub(crate) async fn rings(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn it_rings_once_each_time_it_is_set() {
        const SHORT: Duration = Duration::from_millis(20);
        const LONG: Duration = Duration::from_mins(1);
        let begin = Instant::now();
        let alarm = Alarm::new().unwrap();
        alarm.set(LONG).unwrap();
        for times in 1..4 {
            alarm.set(SHORT).unwrap();
            alarm.rings().await.unwrap();
            assert!(begin.elapsed() >= SHORT * times);
        }
        assert!(begin.elapsed() < LONG);
        let again = tokio::time::timeout(SHORT, alarm.rings()).await;
        assert!(again.is_err(), "it rings without being set");
    }
}
