//! Messages for a thread that also waits for descriptors. Nothing runs while nothing comes.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Gives messages. Clones give them to the same mailbox.
pub(crate) struct Sender<T> {
    messages: mpsc::Sender<T>,
    wake: Arc<EventFd>,
}

/// Holds them until they are taken.
pub(crate) struct Mailbox<T> {
    messages: Receiver<T>,
    wake: Arc<EventFd>,
}

/// Makes an empty one.
///
/// # Errors
/// If there is no descriptor.
pub(crate) fn mailbox<T>() -> Result<(Sender<T>, Mailbox<T>)> {
    let wake = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC);
    let wake = Arc::new(wake.context("no event descriptor")?);
    let (give, take) = channel();
    Ok((Sender { messages: give, wake: Arc::clone(&wake) }, Mailbox { messages: take, wake }))
}

impl<T> Sender<T> {
    /// # Errors
    /// If the mailbox is gone, or its thread cannot be woken.
    pub(crate) fn send(&self, message: T) -> Result<()> {
        self.messages.send(message).map_err(|_| anyhow!("nobody takes messages"))?;
        self.wake.write(1).map(drop).context("a thread cannot be woken")
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { messages: self.messages.clone(), wake: Arc::clone(&self.wake) }
    }
}

impl<T> Mailbox<T> {
    /// Those that are there.
    pub(crate) fn take(&self) -> Vec<T> {
        // It may be armed already for what is taken here: then nothing is there next time.
        self.wake.read().ok();
        self.messages.try_iter().collect()
    }

    /// Waits until there are some or one of the descriptors is readable, but not longer than `at_most` and a millisecond.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub(crate) fn wait<'a>(
        &'a self,
        descriptors: impl IntoIterator<Item = BorrowedFd<'a>>,
        at_most: Duration,
    ) -> nix::Result<()> {
        // The library counts whole milliseconds.
        let timeout = PollTimeout::try_from(at_most + Duration::from_micros(999));
        let all = std::iter::once(self.wake.as_fd()).chain(descriptors);
        let mut all: Vec<_> = all.map(|one| PollFd::new(one, PollFlags::POLLIN)).collect();
        match poll(&mut all, timeout.unwrap_or(PollTimeout::MAX)) {
            Err(nix::Error::EINTR) => Ok(()),
            ready => ready.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn whoever_waits_is_woken_by_a_message_or_a_descriptor() {
        const LONG: Duration = Duration::from_mins(1);
        let begin = Instant::now();
        let (sender, mailbox) = mailbox().unwrap();
        let thread = thread::spawn(move || {
            for number in 0..3 {
                sender.send(number).unwrap();
            }
        });
        let mut taken = Vec::new();
        while taken.len() < 3 {
            mailbox.wait([], LONG).unwrap();
            taken.extend(mailbox.take());
        }
        assert_eq!(taken, [0, 1, 2]);
        thread.join().unwrap();
        mailbox.take();
        let other = EventFd::from_value(1).unwrap();
        mailbox.wait([other.as_fd()], LONG).unwrap();
        assert!(mailbox.take().is_empty());
        assert!(begin.elapsed() < LONG);
        let begin = Instant::now();
        mailbox.wait([], Duration::from_millis(20)).unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(20));
    }
}
