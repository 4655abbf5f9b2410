//! The program at XDP of one interface. Without it TC does all the work: what goes wrong here is said, and guards no less.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};

use crate::bpf::calls::{Target, XdpMode};
use crate::bpf::driver::Driver;
use crate::bpf::in_place::Change;
use crate::bpf::links::{Links, Place};
use crate::bpf::pins::xdp_pin;
use crate::bpf::programs::Loaded;
use crate::config::Xdp;
use crate::desired::xdp::{Wish, choose};
use crate::watch::guarding::AtXdp;
use aya_obj::generated::bpf_attach_type::BPF_XDP;

/// How long what has failed is left alone: an attempt may cost a driver its queues.
const REST: Duration = Duration::from_mins(1);

/// The program at XDP of one interface.
#[derive(Debug, Default)]
pub(super) struct Door {
    wanted: Xdp,
    /// Where it is attached, and its pin.
    attached: Option<(XdpMode, String)>,
    /// Why it is not, and when that was found.
    refused: Option<(String, Instant)>,
}

/// Where the door is.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) name: &'a str,
    pub(super) index: u32,
    pub(super) cookie: u64,
}

impl Door {
    /// What surfaces say of it.
    pub(super) fn said(&self) -> Option<AtXdp> {
        let mode = match (&self.attached, &self.refused) {
            (Some((mode, _)), _) => Ok(mode.label()),
            (None, Some((why, _))) => Err(why.clone()),
            (None, None) => Err("it is not attached yet".into()),
        };
        (self.wanted != Xdp::Off).then_some(AtXdp { wanted: self.wanted, mode })
    }

    /// Whether there is nothing to do.
    pub(super) fn is_shut(&self, wanted: Xdp) -> bool {
        wanted == Xdp::Off && self.wanted == Xdp::Off && self.attached.is_none()
    }

    /// Tries at once what has failed.
    pub(super) fn retry(&mut self) {
        self.refused = None;
    }

    /// Sees to it that the interface has what is wanted; the calling thread is in its namespace. `program` loads it.
    ///
    /// # Errors
    /// If a program cannot be detached.
    pub(super) fn follow(
        &mut self,
        wanted: Xdp,
        frame: Frame,
        links: &mut Links,
        program: impl FnOnce(XdpMode) -> Result<Loaded>,
    ) -> Result<()> {
        if self.wanted != wanted {
            (self.wanted, self.refused) = (wanted, None);
        }
        if self.refused.as_ref().is_some_and(|(_, at)| at.elapsed() < REST) {
            return Ok(());
        }
        let known = || Driver::of(frame.name).map_err(|error| format!("{error:#}"));
        let known = if wanted == Xdp::Off { Err(String::new()) } else { known() };
        let known = known.as_ref().map(|one| (&*one.name, one.takes_tags_off));
        let mode = match choose(wanted, known.map_err(Clone::clone)) {
            Ok(None) => return self.shut(links),
            Ok(Some(Wish::Native)) => XdpMode::Native,
            Ok(Some(Wish::Generic)) => XdpMode::Generic,
            Err(why) => return self.refuse(why, links),
        };
        if self.attached.as_ref().is_some_and(|(there, _)| *there != mode) {
            self.shut(links)?;
        }
        if self.attached.is_none() {
            // What an agent before this one has pinned in the other mode.
            for other in XdpMode::ALL.into_iter().filter(|other| *other != mode) {
                links.release(&xdp_pin(other, frame.cookie, frame.index))?;
            }
        }
        let pin = xdp_pin(mode, frame.cookie, frame.index);
        let place = Place {
            target: Target::Xdp(frame.index, mode),
            id: frame.index.into(),
            attach_type: BPF_XDP,
        };
        match program(mode).and_then(|program| links.ensure(&pin, &program, &place)) {
            Ok(found) => self.note(found.change, (mode, pin), frame),
            Err(error) => return self.refuse(reason(&error), links),
        }
        Ok(())
    }

    fn note(&mut self, change: Change, attached: (XdpMode, String), Frame { name, .. }: Frame) {
        let label = attached.0.label();
        match (&self.attached, change) {
            (None, _) => tracing::info!("a program answers SYNs of {name} at {label} XDP"),
            (Some(_), Change::None) => {}
            (Some(_), Change::Attached) => tracing::error!(
                "the program at XDP of {name} was not attached any more: it is attached again. TC has done its work meanwhile"
            ),
            (Some(_), Change::Pinned | Change::Exchanged) => {
                tracing::error!(
                    "the pin of the program at XDP of {name} was gone: it is pinned again"
                );
            }
        }
        (self.attached, self.refused) = (Some(attached), None);
    }

    /// Leaves all to TC.
    fn refuse(&mut self, why: String, links: &mut Links) -> Result<()> {
        self.shut(links)?;
        self.refused = Some((why, Instant::now()));
        Ok(())
    }

    /// Detaches it.
    ///
    /// # Errors
    /// If it stays attached.
    pub(super) fn shut(&mut self, links: &mut Links) -> Result<()> {
        if let Some((_, pin)) = &self.attached {
            links.release(pin)?;
            self.attached = None;
        }
        Ok(())
    }
}

/// What an operator reads of a refusal.
fn reason(error: &Error) -> String {
    let refusal = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    match refusal.and_then(io::Error::raw_os_error) {
        Some(libc::EBUSY | libc::EEXIST) => {
            "another program is attached at XDP, which `ip -details link` names: it is not replaced"
                .into()
        }
        Some(libc::EOPNOTSUPP) => "the driver has no native XDP, or not with its settings".into(),
        Some(libc::EINVAL | libc::ERANGE | libc::EMSGSIZE) => format!(
            "the driver refuses a program with its settings (MTU, queues, offloads), as the kernel's log may say: {error:#}"
        ),
        _ => format!("{error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_look_at() {
        let refused = |code| {
            let error = Error::from(io::Error::from_raw_os_error(code));
            reason(&error.context("the kernel does not attach the program"))
        };
        assert!(refused(libc::EBUSY).starts_with("another program"));
        assert!(refused(libc::EOPNOTSUPP).starts_with("the driver has no"));
        assert!(refused(libc::EINVAL).contains("MTU"));
        assert!(refused(libc::EPERM).starts_with("the kernel does not attach"));
    }

    #[test]
    fn nothing_is_said_of_a_door_that_nobody_wants() {
        let mut door = Door::default();
        assert!(door.is_shut(Xdp::Off) && !door.is_shut(Xdp::Auto));
        assert_eq!(door.said(), None);
        door.wanted = Xdp::Auto;
        assert!(door.said().unwrap().mode.is_err());
        door.refused = Some(("because".into(), Instant::now()));
        assert_eq!(door.said().unwrap().mode, Err("because".into()));
        door.attached = Some((XdpMode::Native, "xdpnative-1-7".into()));
        assert_eq!(door.said().unwrap().mode, Ok("native"));
    }
}
