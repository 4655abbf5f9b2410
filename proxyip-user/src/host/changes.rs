//! Notices that links, routes or rules of network namespaces have changed: one socket of each kind for all of them.
//!
//! What has changed is not kept: a router with a million routes may announce more in a second than anybody can read.
//! The kernel bounds what waits in the socket.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use anyhow::{Context, Result};
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};

use super::nsid::Nsid;

/// How many announcements are taken before the caller has its turn.
const AT_MOST: usize = 4096;

/// Bytes that may wait in a socket. Each announcement takes some hundreds.
const ROOM: usize = 1 << 20;

/// `NFNLGRP_NFTABLES` (`linux/netfilter/nfnetlink.h`).
const RULES: u32 = 7;

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
    /// Listens for links and routes from now on, in the calling thread's namespace and in all that have a number there.
    ///
    /// # Errors
    /// If there is no netlink socket. To hear of other namespaces takes `CAP_NET_BROADCAST`.
    pub(crate) fn of_links_and_routes() -> Result<Self> {
        let groups = [libc::RTNLGRP_IPV4_ROUTE, libc::RTNLGRP_IPV6_ROUTE, libc::RTNLGRP_LINK];
        let changes = Self::of(NETLINK_ROUTE, &groups, ROOM)?;
        if let Err(error) = changes.socket.set_listen_all_namespaces(true) {
            tracing::warn!(
                "the kernel does not announce changes in other network namespaces ({error}): is CAP_NET_BROADCAST missing? \
                 New interfaces are found there late"
            );
        }
        Ok(changes)
    }

    /// The same for the rules of nftables. This has the kernel load nftables.
    ///
    /// # Errors
    /// If there is no netlink socket, or not for other namespaces.
    pub(crate) fn of_rules() -> Result<Self> {
        let changes = Self::of(NETLINK_NETFILTER, &[RULES], ROOM)?;
        let all = changes.socket.set_listen_all_namespaces(true);
        all.context("changes of rules in other network namespaces are not announced")?;
        Ok(changes)
    }

    fn of(protocol: isize, groups: &[u32], room: usize) -> Result<Self> {
        let open = || {
            let mut socket = Socket::new(protocol)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            // Beyond what sysctls allow everybody.
            setsockopt(&socket, RcvBufForce, &room).or_else(|_| socket.set_rx_buf_sz(room))?;
            for group in groups {
                socket.add_membership(*group)?;
            }
            socket.set_non_blocking(true)?;
            Ok::<_, io::Error>(socket)
        };
        Ok(Self { socket: open().context("no netlink socket")?, lost: Cell::new(false) })
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

    fn run(command: &str) {
        let mut words = command.split(' ');
        let done = Command::new(words.next().unwrap()).args(words).status();
        assert!(done.unwrap().success(), "{command}");
    }

    /// Runs a command in a namespace of its own. Returns that namespace's number.
    fn elsewhere(nsids: Nsids, command: &'static str) -> Nsid {
        let other = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let number = nsids.of(&File::open("/proc/thread-self/ns/net").unwrap()).unwrap();
            run(command);
            number
        });
        other.join().unwrap()
    }

    fn next(changes: &Changes) -> Changed {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            if let Some(changed) = changes.take().unwrap() {
                return changed;
            }
            assert!(Instant::now() < deadline, "nothing is announced");
            thread::yield_now();
        }
    }

    /// Elsewhere something changes all the time.
    fn in_a_namespace_of_its_own(test: fn()) {
        let test = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            test();
        });
        test.join().unwrap();
    }

    #[test]
    fn changes_in_another_namespace_are_announced_with_its_number() {
        in_a_namespace_of_its_own(|| {
            for (changes, command) in [
                (Changes::of_links_and_routes(), "ip link set lo up"),
                (Changes::of_rules(), "nft add table ip some"),
            ] {
                let changes = changes.unwrap();
                assert_eq!(changes.take().unwrap(), None);
                let number = elsewhere(Nsids::open().unwrap(), command);
                assert_eq!(next(&changes), Changed::Within([Some(number)].into()));
            }
        });
    }

    #[test]
    fn what_finds_no_room_has_changed_anywhere_and_what_comes_later_is_heard_again() {
        in_a_namespace_of_its_own(|| {
            // Enough for the announcements of one device, and not for those of all.
            const LITTLE: usize = 16_384;
            let changes = Changes::of(NETLINK_ROUTE, &[libc::RTNLGRP_LINK], LITTLE).unwrap();
            for number in 0..48 {
                run(&format!("ip link add a{number} type veth peer name b{number}"));
            }
            assert_eq!(changes.take().unwrap(), Some(Changed::Anywhere));
            assert_eq!(changes.take().unwrap(), None, "it is said once");
            run("ip link del a7");
            assert_eq!(next(&changes), Changed::Within([None].into()));
        });
    }
}
