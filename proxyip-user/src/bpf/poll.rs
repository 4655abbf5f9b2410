//! Waiting for ring buffers.

use std::io;

use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The programs' messages, as the loader reads them.
pub(crate) type Messages = EbpfLogger<&'static dyn log::Log>;

/// Waits for events.
///
/// # Errors
/// If the buffer cannot be waited for.
pub(crate) fn events(buffer: RingBuf<MapData>) -> io::Result<AsyncFd<RingBuf<MapData>>> {
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
