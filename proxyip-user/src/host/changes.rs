//! Notices that links or routes of a network namespace have changed.
//!
//! What has changed is not kept: a router with a million routes may announce more in a second than anybody can read.
//! The kernel bounds what waits in the socket.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rtnetlink::MulticastGroup;

/// How many announcements are taken before the caller has its turn.
const AT_MOST: usize = 4096;

/// What the kernel announces.
pub(crate) struct Changes(Socket);

impl Changes {
    /// Listens from now on, in the calling thread's namespace.
    ///
    /// # Errors
    /// If there is no netlink socket.
    pub(crate) fn subscribe() -> Result<Self> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            for group in
                [MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route, MulticastGroup::Link]
            {
                socket.add_membership(group as u32)?;
            }
            socket.set_non_blocking(true)?;
            Ok::<_, io::Error>(socket)
        };
        open().map(Self).context("no netlink socket")
    }

    /// Waits for a change. Returns whether there was one, or may have been.
    ///
    /// # Errors
    /// If the socket cannot be read.
    pub(crate) fn wait(&self, at_most: Duration) -> Result<bool> {
        let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, timeout) {
            Err(nix::Error::EINTR) => return Ok(false),
            ready => ready.context("the netlink socket cannot be waited for")?,
        };
        self.take()
    }

    /// Takes what is there.
    fn take(&self) -> Result<bool> {
        for taken in 0..AT_MOST {
            // A datagram goes when it is read, whether or not there is room for it.
            let mut nothing: &mut [u8] = &mut [];
            match self.0.recv(&mut nothing, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(taken > 0),
                // More was announced than the socket could hold.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(true),
                Err(error) => return Err(error).context("the netlink socket cannot be read"),
            }
        }
        Ok(true)
    }
}
