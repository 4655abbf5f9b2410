//! Notices that links or routes of network namespaces have changed: one socket for all of them.
//!
//! What has changed is not kept: a router with a million routes may announce more in a second than anybody can read.
//! The kernel bounds what waits in the socket.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use anyhow::{Context, Result};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use rtnetlink::MulticastGroup;

use super::nsid::Nsid;

/// How many announcements are taken before the caller has its turn.
const AT_MOST: usize = 4096;

/// Bytes that may wait in the socket. Each announcement takes some hundreds.
const ROOM: usize = 1 << 20;

/// What the kernel announces.
#[derive(Debug)]
pub(crate) struct Changes {
    socket: Socket,
    /// The kernel has dropped some, and has not been asked for all of the others yet.
    lost: Cell<bool>,
}

/// Where something has changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// In the namespaces with these numbers; `None` is the one that listens.
    Within(BTreeSet<Option<Nsid>>),
    /// More was announced than the socket could hold.
    Anywhere,
}

impl Changes {
    /// Listens from now on in the calling thread's namespace, and in all that have a number there.
    ///
    /// # Errors
    /// If there is no netlink socket. To hear of other namespaces takes `CAP_NET_BROADCAST`.
    pub(crate) fn subscribe() -> Result<Self> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            // Beyond what sysctls allow everybody.
            setsockopt(&socket, RcvBufForce, &ROOM).or_else(|_| socket.set_rx_buf_sz(ROOM))?;
            for group in
                [MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route, MulticastGroup::Link]
            {
                socket.add_membership(group as u32)?;
            }
            socket.set_non_blocking(true)?;
            Ok::<_, io::Error>(socket)
        };
        let socket = open().context("no netlink socket")?;
        if let Err(error) = socket.set_listen_all_namespaces(true) {
            tracing::warn!(
                "the kernel does not announce changes in other network namespaces ({error}): is CAP_NET_BROADCAST missing? \
                 New interfaces are found there late"
            );
        }
        Ok(Self { socket, lost: Cell::new(false) })
    }

    /// Takes what has been announced; `None` if nothing has.
    ///
    /// # Errors
    /// If the socket cannot be read.
    pub(crate) fn take(&self) -> Result<Option<Changed>> {
        let mut within = BTreeSet::new();
        for _ in 0..AT_MOST {
            match self.next() {
                Ok(number) => {
                    within.insert(number);
                }
                Err(Errno::EAGAIN) => {
                    // Until the socket was empty, the kernel went on dropping.
                    let lost = self.lost.replace(false);
                    let some = (!within.is_empty()).then_some(Changed::Within(within));
                    return Ok(if lost { Some(Changed::Anywhere) } else { some });
                }
                Err(Errno::ENOBUFS) => self.lost.set(true),
                Err(error) => return Err(error).context("the netlink socket cannot be read"),
            }
        }
        Ok(Some(Changed::Within(within)))
    }

    /// The namespace of the next announcement.
    fn next(&self) -> nix::Result<Option<Nsid>> {
        // A datagram goes when it is read, whether or not there is room for it.
        let mut nothing = [IoSliceMut::new(&mut [])];
        let mut space = cmsg_space!(Nsid);
        let message = recvmsg::<()>(
            self.socket.as_raw_fd(),
            &mut nothing,
            Some(&mut space),
            MsgFlags::empty(),
        )?;
        Ok(message.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::Unknown(unknown) => number(&unknown),
            _ => None,
        }))
    }
}

/// The number in a control message, if it is one.
fn number(message: &nix::sys::socket::UnknownCmsg) -> Option<Nsid> {
    let header = &message.cmsg_header;
    let is_number =
        (header.cmsg_level, header.cmsg_type) == (libc::SOL_NETLINK, libc::NETLINK_LISTEN_ALL_NSID);
    message.data_bytes.first_chunk().filter(|_| is_number).map(|bytes| Nsid::from_ne_bytes(*bytes))
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::Command;
    use std::thread;
    use std::time::{Duration, Instant};

    use nix::sched::{CloneFlags, unshare};

    use super::*;
    use crate::host::nsid::Nsids;

    #[test]
    fn changes_in_another_namespace_are_announced_with_its_number() {
        // A namespace of its own: elsewhere something changes all the time.
        let listener = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let changes = Changes::subscribe().unwrap();
            assert_eq!(changes.take().unwrap(), None);
            let nsids = Nsids::open().unwrap();
            let other = thread::spawn(move || {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                let number = nsids.of(&File::open("/proc/thread-self/ns/net").unwrap()).unwrap();
                let ip = ["link", "set", "lo", "up"];
                assert!(Command::new("ip").args(ip).status().unwrap().success());
                number
            });
            let number = other.join().unwrap();
            let deadline = Instant::now() + Duration::from_secs(5);
            loop {
                match changes.take().unwrap() {
                    Some(Changed::Within(numbers)) => {
                        assert_eq!(numbers, [Some(number)].into());
                        return;
                    }
                    other => assert_eq!(other, None),
                }
                assert!(Instant::now() < deadline, "nothing is announced");
                thread::yield_now();
            }
        });
        listener.join().unwrap();
    }
}
