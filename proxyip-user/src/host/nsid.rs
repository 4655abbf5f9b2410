//! Numbers of network namespaces, as the agent's own namespace counts the others.
//!
//! A netlink socket hears of another namespace only if that has a number here, and says which one by it
//! (`NETLINK_LISTEN_ALL_NSID`, <https://git.kernel.org/torvalds/c/59324cf35aba>). `ip netns` shows the numbers as `id`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::netlink;

/// The number of a namespace.
pub(crate) type Nsid = i32;

/// What the kernel answers where there is none, and takes as a request to choose one.
const NONE: Nsid = -1;

/// Asks for numbers.
#[derive(Debug)]
pub(crate) struct Nsids(Socket);

impl Nsids {
    /// In the calling thread's namespace.
    pub(crate) fn open() -> Result<Self> {
        netlink::open(NETLINK_ROUTE).map(Self).context("no netlink socket")
    }

    /// The number of a namespace, which gets one if it has none.
    pub(crate) fn of(&self, namespace: &File) -> Result<Nsid> {
        let numbered = || {
            if let Some(number) = self.look(namespace)? {
                return Ok(number);
            }
            match self.assign(namespace) {
                // Somebody else was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                assigned => assigned?,
            }
            self.look(namespace)?.context("it has got none")
        };
        numbered().context("the network namespace has no number")
    }

    /// `None` if it has no number.
    fn look(&self, namespace: &File) -> Result<Option<Nsid>> {
        let question = RouteNetlinkMessage::GetNsId(message(namespace, None));
        let Some(RouteNetlinkMessage::NewNsId(answer)) = self.ask(question)? else {
            bail!("the kernel answers something else");
        };
        let number = answer.attributes.iter().find_map(|attribute| match attribute {
            NsidAttribute::Id(number) => Some(*number),
            _ => None,
        });
        Ok(number.filter(|number| *number != NONE))
    }

    fn assign(&self, namespace: &File) -> io::Result<()> {
        let order = RouteNetlinkMessage::NewNsId(message(namespace, Some(NONE)));
        self.ask(order).map(drop)
    }

    /// Returns the answer; `None` if that only says that all is well.
    fn ask(&self, message: RouteNetlinkMessage) -> io::Result<Option<RouteNetlinkMessage>> {
        let mut found = None;
        netlink::ask(&self.0, (message, NLM_F_REQUEST | NLM_F_ACK), |answer| {
            found = Some(answer);
        })?;
        Ok(found)
    }
}

fn message(namespace: &File, number: Option<Nsid>) -> NsidMessage {
    let mut message = NsidMessage::default();
    message.attributes.push(NsidAttribute::Fd(namespace.as_raw_fd().cast_unsigned()));
    message.attributes.extend(number.map(NsidAttribute::Id));
    message
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::sched::{CloneFlags, unshare};

    use super::*;

    #[test]
    fn a_namespace_gets_a_number_and_keeps_it() {
        let other = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let other = other.join().unwrap();
        let nsids = Nsids::open().unwrap();
        assert_eq!(nsids.look(&other).unwrap(), None);
        let number = nsids.of(&other).unwrap();
        assert!(number >= 0);
        assert_eq!(nsids.of(&other).unwrap(), number);
    }
}
