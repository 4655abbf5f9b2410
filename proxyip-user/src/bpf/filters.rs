//! Attaching to interfaces where the kernel has no TCX links: filters of the `clsact` qdisc.
//!
//! A filter stays when the agent ends and cannot be pinned. Instead its program is, under a name that tells
//! where the filter is, so that it is found again.

use std::fs;
use std::io::ErrorKind;
use std::mem;
use std::path::Path;

use anyhow::{Context, Result};
use aya::programs::SchedClassifier;
use aya::programs::tc::{
    self, NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcError, TcHandle,
};

use super::direction::Direction;
use super::pins;
use super::programs::{EGRESS, INGRESS, INGRESS_BASIC};
use crate::host::namespace::{self, Namespace};

/// What the names of filters' pins begin with.
pub(crate) const PREFIX: &str = "filter-";

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
        format!("{PREFIX}{}-{}-{}", self.direction.label(), self.namespace, self.interface)
    }

    /// Reads the name of a pin, in which [`Links`](super::links::Links) has put colons for dots; `None` if
    /// it is not one of a filter.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.splitn(3, '-');
        let direction = Direction::from_label(parts.next()?)?;
        let namespace = parts.next()?.parse().ok()?;
        Some(Self { direction, namespace, interface: parts.next()?.replace(':', ".") })
    }

    /// The namespace, if it still exists.
    pub(crate) fn namespace(&self) -> Option<Namespace> {
        Namespace::with_inode(self.namespace)
    }

    /// Puts the program into our filter, atomically if there is one. `pin` is the place of the program's pin. Call it
    /// in the namespace.
    pub(crate) fn attach(&self, program: &mut SchedClassifier, pin: &Path) -> Result<()> {
        let existing = pin.exists();
        // Pin first: the agent must find an attached program again, even if it is killed in between.
        repin(program, pin)?;
        match tc::qdisc_add_clsact(&self.interface) {
            Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {}
            other => {
                other
                    .with_context(|| format!("interface {} cannot have clsact", self.interface))?;
            }
        }
        // Fails if there is none, for instance because the interface has been made anew.
        let replaced = if existing { self.replace(program).ok() } else { None };
        let id = match replaced {
            Some(id) => id,
            None => self.create(program)?,
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

/// Pins the program, in the place of an older one.
fn repin(program: &mut SchedClassifier, pin: &Path) -> Result<()> {
    let new = pins::successor(pin);
    fs::remove_file(&new).ok();
    program
        .pin(&new)
        .map_err(anyhow::Error::from)
        .and_then(|()| Ok(fs::rename(&new, pin)?))
        .with_context(|| format!("{} cannot be pinned", pin.display()))
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
