//! Waiting for ring buffers.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The programs' messages, as the loader reads them.
pub(crate) type Messages = EbpfLogger<&'static dyn log::Log>;

/// A buffer that is also read while somebody waits for it.
pub(crate) struct Ring(pub(crate) RefCell<RingBuf<MapData>>);

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.borrow().as_raw_fd()
    }
}

/// Waits for events.
///
/// # Errors
/// If the buffer cannot be waited for.
pub(crate) fn events(buffer: RingBuf<MapData>) -> io::Result<AsyncFd<Ring>> {
    let buffer = Ring(RefCell::new(buffer));
    // SAFETY: the descriptor is the map's, open until the buffer is dropped, and never another one.
    Ok(unsafe { AsyncFd::register_with_interest(buffer, Interest::READABLE) }?)
}

/// Waits for messages of the programs.
///
/// # Errors
/// If the buffer cannot be waited for.
pub(crate) fn messages(logger: Messages) -> io::Result<AsyncFd<Messages>> {
    // SAFETY: the descriptor is the ring buffer's, open until the logger is dropped, and never another one.
    Ok(unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }?)
}
