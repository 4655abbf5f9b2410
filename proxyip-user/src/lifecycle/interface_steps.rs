//! Takes the steps that [`plan`](crate::desired::plan::interfaces) has for the interfaces of one namespace.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow};
use nix::errno::Errno;

use super::interface::{Interface, Within, exists};
use super::looked::{Found, Gone};
use super::of_namespace::OfNamespace;
use crate::bpf::direction::Direction;
use crate::bpf::links::Links;
use crate::bpf::strays;
use crate::desired::plan::interfaces::{Found as Device, Id, Step};
use crate::host::links::check_interface;
use crate::steps::step;

impl OfNamespace {
    /// Takes steps; the calling thread is in the namespace. One that fails ends those of its interface, and of no other.
    pub(super) fn take_all(
        &mut self,
        steps: Vec<Step>,
        (pin_path, links): (&Path, &mut Links),
    ) -> Vec<Found> {
        let (mut found, mut failed) = (Vec::new(), BTreeSet::new());
        for one in steps {
            let id = one.id();
            if !failed.contains(&id) {
                step();
                let in_place = self.take(one, (pin_path, &mut *links));
                if in_place.as_ref().is_some_and(|(_, result)| result.is_err()) {
                    failed.insert(id);
                }
                found.extend(in_place);
            }
        }
        found
    }

    fn take(&mut self, one: Step, (pin_path, links): (&Path, &mut Links)) -> Option<Found> {
        match one {
            Step::Leave(id) => {
                let failed = self.let_go(id, links);
                if failed.is_none() {
                    self.forget("left", id);
                }
                failed
            }
            Step::Rename(id, name) => {
                let (hooks, what) = (self.hooks, self.what(id));
                let renamed = self.interfaces.get_mut(&id)?.rename(&name, hooks, links);
                Some((what, Err(still_attached(renamed.err()?))))
            }
            Step::Miss(id) => self.miss(id, links),
            Step::LetGo(id) => {
                let index = self.interfaces.get(&id)?.index;
                // The links of a device that is gone are replaced by new ones, except the one at XDP.
                if !index.is_some_and(exists) {
                    let one = self.interfaces.get_mut(&id)?;
                    one.index = None;
                    if let Err(error) = one.door.shut(links) {
                        tracing::error!("the program at XDP of {}: {error:#}", self.what(id));
                    }
                    return None;
                }
                let failed = self.let_go(id, links);
                self.interfaces.get_mut(&id)?.index = index.filter(|_| failed.is_some());
                failed
            }
            Step::Meet(id, index) => self.meet((id, index), pin_path),
            Step::Take(id, device) => self.take_device(id, device, pin_path),
            Step::Ensure(id, direction) => self.attach(id, direction, links),
            Step::Release(id, direction) => {
                let what = self.what(id);
                let error = self.interfaces.get_mut(&id)?.release(direction, links).err()?;
                let sentence =
                    format!("{what} is still attached to, though it has left the configuration");
                Some((what, Err(error.context(sentence))))
            }
            Step::Forget(id) => {
                self.forget("detached from", id);
                None
            }
        }
    }

    /// The begin of a sentence.
    fn what(&self, id: Id) -> String {
        let name = self.interfaces.get(&id).map_or("", |one| &one.name);
        format!("interface {name}{}", Within(self.netns()))
    }

    fn forget(&mut self, done: &str, id: Id) {
        if let Some(one) = self.interfaces.remove(&id) {
            tracing::info!("{done} {}{}", one.name, Within(self.netns()));
        }
    }

    fn let_go(&mut self, id: Id, links: &mut Links) -> Option<Found> {
        let (hooks, what) = (self.hooks, self.what(id));
        let error = self.interfaces.get_mut(&id)?.let_go(hooks, links).err()?;
        Some((what, Err(still_attached(error))))
    }

    fn miss(&mut self, id: Id, links: &mut Links) -> Option<Found> {
        let what = self.what(id);
        let failed = self.let_go(id, links);
        let one = self.interfaces.get_mut(&id)?;
        // Its programs may still be there.
        one.index = one.index.filter(|_| failed.is_some());
        let gone = || (what.clone(), Err(Error::from(Errno::ENODEV).context(Gone(what.clone()))));
        Some(failed.unwrap_or_else(gone))
    }

    fn meet(&mut self, (id, index): (Id, u32), pin_path: &Path) -> Option<Found> {
        let what = self.what(id);
        let name = self.interfaces.get(&id)?.name.clone();
        let fits = check_interface(&name, self.netns())
            .and_then(|()| strays::check_now(pin_path, &[&name]))
            .and_then(|()| self.check_free(id, index));
        self.interfaces.get_mut(&id)?.index = fits.is_ok().then_some(index);
        let error = fits.err()?;
        let error = if exists(index) {
            error.context(format!("{what} is not attached to"))
        } else {
            error.context(Gone(what.clone()))
        };
        Some((what, Err(error)))
    }

    fn take_device(&mut self, id: Id, device: Device, pin_path: &Path) -> Option<Found> {
        let Device { index, name } = device;
        let fits = strays::check_now(pin_path, &[&name]).and_then(|()| self.check_free(id, index));
        let Err(error) = fits else {
            self.interfaces.insert(id, Interface::found(&name, index));
            return None;
        };
        let what = format!("interface {name}{}", Within(self.netns()));
        let sentence = format!("{what} is not attached to");
        Some((what, Err(error.context(sentence))))
    }

    /// Two interfaces with one device would have each packet handled twice.
    fn check_free(&self, id: Id, index: u32) -> Result<()> {
        let others = self.interfaces.iter().filter(|(other, _)| **other != id);
        match others.map(|(_, one)| one).find(|one| one.index == Some(index)) {
            Some(other) => Err(anyhow!("it is still attached to as {}", other.name)),
            None => Ok(()),
        }
    }

    fn attach(&mut self, id: Id, direction: Direction, links: &mut Links) -> Option<Found> {
        let (cookie, hooks) = (self.entrance.cookie(), self.hooks);
        let others = self.interfaces.iter().filter(|(other, _)| **other != id);
        let taken: Vec<_> = others.flat_map(|(_, one)| one.pins().cloned()).collect();
        let what = format!("the {} program of {}", direction.label(), self.what(id));
        let program = self.programs.iter().find(|(there, _)| *there == direction)?;
        let interface = self.interfaces.get_mut(&id)?;
        let pin = interface.pin((direction, cookie), &taken, links);
        let in_place = interface.ensure(program, (hooks, pin), links);
        if in_place.is_err() && interface.has_gone() {
            return None;
        }
        let in_place = in_place.with_context(|| format!("{what} is not attached"));
        Some((what, in_place))
    }
}

fn still_attached(error: Error) -> Error {
    error.context("it is still attached to")
}
