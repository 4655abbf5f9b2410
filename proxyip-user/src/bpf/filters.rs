//! Attaching to interfaces where the kernel has no TCX links: filters of the `clsact` qdisc.
//!
//! A filter stays when the agent ends and cannot be pinned. Instead its program is, under a name that tells
//! where the filter is, so that it is found again.

use std::fs;
use std::io::ErrorKind;
use std::mem;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result};
use aya::programs::tc::{
    self, NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcError, TcHandle,
};
use aya::programs::{ProgramInfo, SchedClassifier};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcFilterBpfOption, TcHandle as Parent, TcMessage, TcOption,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::net::if_::if_nametoindex;

use super::calls;
use super::direction::Direction;
use super::in_place::{Change, InPlace};
use super::pins::{self, FILTER};
use super::programs::{EGRESS, INGRESS, INGRESS_BASIC, Loaded};
use crate::host::namespace::{self, Namespace};
use crate::host::netlink;

/// Before all filters of other priorities. Among filters of the same priority, the youngest comes first.
const PRIORITY: u16 = 1;
/// Tells ours from others of the same priority: "PX".
const HANDLE: TcHandle = TcHandle::new(0, 0x5058);

/// Where a filter is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    direction: Direction,
    /// Inode number of the network namespace. Its cookie would be better, but kernels that need filters may
    /// have none.
    namespace: u64,
    interface: String,
}

impl Place {
    /// In the calling thread's namespace.
    pub(crate) fn here(direction: Direction, interface: &str) -> Result<Self> {
        Ok(Self { direction, namespace: namespace::inode()?, interface: interface.into() })
    }

    /// What the pin is called.
    pub(crate) fn name(&self) -> String {
        format!("{FILTER}{}-{}-{}", self.direction.label(), self.namespace, self.interface)
    }

    /// Reads the name of a pin, in which [`Links`](super::links::Links) has put colons for dots; `None` if
    /// it is not one of a filter.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(FILTER)?.splitn(3, '-');
        let direction = Direction::from_label(parts.next()?)?;
        let namespace = parts.next()?.parse().ok()?;
        Some(Self { direction, namespace, interface: parts.next()?.replace(':', ".") })
    }

    /// The inode number of its namespace.
    pub(crate) const fn inode(&self) -> u64 {
        self.namespace
    }

    /// The namespace, if it still exists.
    pub(crate) fn namespace(&self) -> Option<Namespace> {
        Namespace::with_inode(self.namespace)
    }

    /// Sees to it that our filter is there and has the program, and that the program is pinned. Call it in the
    /// namespace.
    pub(crate) fn ensure(&self, program: &Loaded, pin: &Path) -> Result<InPlace> {
        // Pin first: the agent must find an attached program again, even if it is killed in between.
        let pinned = repin(program, pin)?;
        let filters = self.filters()?;
        let ours = filters.iter().position(Filter::is_ours);
        let change = match ours.map(|ours| filters[ours].program) {
            Some(there) if there == Some(program.id) && pinned => Change::Pinned,
            Some(there) if there == Some(program.id) => Change::None,
            there => {
                self.attach(pin, there.is_some())?;
                Change::Attached
            }
        };
        let before = filters[..ours.unwrap_or(0)].iter().filter_map(|filter| filter.program);
        Ok(InPlace { change, before: before.collect() })
    }

    /// Puts the pinned program into our filter, atomically if it `exists`.
    fn attach(&self, pin: &Path, exists: bool) -> Result<()> {
        match tc::qdisc_add_clsact(&self.interface) {
            Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {}
            other => {
                other
                    .with_context(|| format!("interface {} cannot have clsact", self.interface))?;
            }
        }
        let mut program = SchedClassifier::from_pin(pin)
            .with_context(|| format!("{} cannot be opened", pin.display()))?;
        // Fails if somebody has removed it meanwhile.
        let replaced = if exists { self.replace(&mut program).ok() } else { None };
        let id = match replaced {
            Some(id) => id,
            None => self.create(&mut program)?,
        };
        // Dropping the link would remove the filter.
        mem::forget(program.take_link(id)?);
        Ok(())
    }

    fn replace(&self, program: &mut SchedClassifier) -> Result<SchedClassifierLinkId> {
        let attach = self.direction.attach_type();
        let filter =
            SchedClassifierLink::attached(&self.interface, attach, PRIORITY, HANDLE, None)?;
        Ok(program.attach_to_link(filter)?)
    }

    fn create(&self, program: &mut SchedClassifier) -> Result<SchedClassifierLinkId> {
        let Self { direction, interface, .. } = self;
        let options = NlOptions { priority: PRIORITY, handle: HANDLE, classid: None };
        let options = TcAttachOptions::Netlink(options);
        program.attach_with_options(interface, direction.attach_type(), options).with_context(|| {
            format!(
                "interface {interface} cannot have a filter: `tc filter show dev {interface} {}` must show \
                 none of priority {PRIORITY} with handle {:#x} (a proxyip whose pins are gone leaves one) or \
                 of another kind than BPF, and there must be no `ingress` qdisc",
                direction.label(),
                u32::from(HANDLE)
            )
        })
    }

    /// The filters of the interface, in the order in which they run.
    fn filters(&self) -> Result<Vec<Filter>> {
        let index = if_nametoindex(&*self.interface).context("the interface is gone")?;
        let mut request = TcMessage::default();
        request.header.index = i32::try_from(index)?;
        let minor = match self.direction {
            Direction::Ingress => Parent::MIN_INGRESS,
            Direction::Egress => Parent::MIN_EGRESS,
        };
        request.header.parent = Parent { minor, ..Parent::CLSACT };
        let request = RouteNetlinkMessage::GetTrafficFilter(request);
        let filters = netlink::open(NETLINK_ROUTE).and_then(|socket| {
            netlink::dump(&socket, &request, |answer| match answer {
                RouteNetlinkMessage::NewTrafficFilter(filter) => Some(Filter::from(&filter)),
                _ => None,
            })
        });
        let filters =
            filters.with_context(|| format!("the filters of {} cannot be read", self.interface))?;
        Ok(filters.found)
    }

    /// The programs of the interface's filters.
    pub(crate) fn programs(&self) -> Result<Vec<u32>> {
        Ok(self.filters()?.iter().filter_map(|filter| filter.program).collect())
    }

    /// Removes our filter, if it, its interface and its namespace still exist. The qdisc stays, since others
    /// may use it.
    pub(crate) fn detach(&self) -> Result<()> {
        let Some(namespace) = self.namespace() else { return Ok(()) };
        let names = match self.direction {
            Direction::Ingress => &[INGRESS, INGRESS_BASIC][..],
            Direction::Egress => &[EGRESS],
        };
        namespace.run(|| names.iter().try_for_each(|name| self.detach_named(name)))
    }

    fn detach_named(&self, program: &str) -> Result<()> {
        let attach = self.direction.attach_type();
        match tc::qdisc_detach_program(&self.interface, attach, program) {
            Err(TcError::IoError(error))
                if error.kind() == ErrorKind::NotFound
                    || error.raw_os_error() == Some(libc::ENODEV) =>
            {
                Ok(())
            }
            other => {
                other.with_context(|| format!("the filter of {} cannot be removed", self.interface))
            }
        }
    }
}

/// A filter of an interface.
#[derive(Debug, PartialEq, Eq)]
struct Filter {
    priority: u16,
    handle: u32,
    /// The id of its program, if it is one of BPF.
    program: Option<u32>,
}

impl Filter {
    fn is_ours(&self) -> bool {
        self.priority == PRIORITY && self.handle == u32::from(HANDLE)
    }
}

impl From<&TcMessage> for Filter {
    fn from(message: &TcMessage) -> Self {
        let options = message.attributes.iter().find_map(|attribute| match attribute {
            TcAttribute::Options(options) => Some(&options[..]),
            _ => None,
        });
        let program = options.into_iter().flatten().find_map(|option| match option {
            TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
            _ => None,
        });
        // The upper half is the priority, the lower one the protocol.
        let priority = u16::try_from(message.header.info >> 16).unwrap_or_default();
        Self { priority, handle: message.header.handle.into(), program }
    }
}

/// Pins the program, in the place of an older one; `false` if it is pinned there already.
fn repin(program: &Loaded, pin: &Path) -> Result<bool> {
    if ProgramInfo::from_pin(pin).is_ok_and(|there| there.id() == program.id) {
        return Ok(false);
    }
    let context = || format!("{} cannot be pinned", pin.display());
    let new = pins::successor(pin);
    pins::discard(&new)?;
    fs::create_dir_all(pin.parent().unwrap_or(pin)).with_context(context)?;
    calls::pin(program.as_fd(), &new).with_context(context)?;
    fs::rename(&new, pin).with_context(context)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pins_tell_the_place() {
        let interface = "a-b.7".into();
        let place = Place { direction: Direction::Egress, namespace: 4_026, interface };
        assert_eq!(place.name(), "filter-egress-4026-a-b.7");
        assert_eq!(Place::from_name("filter-egress-4026-a-b:7"), Some(place));
        for other in ["ingress-1-eth0", "filter-both-1-eth0", "filter-ingress-x-eth0", "filter-"] {
            assert_eq!(Place::from_name(other), None, "{other}");
        }
    }
}
