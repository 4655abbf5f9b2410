//! The steps by which interfaces of one network namespace get their programs, and lose them.
//!
//! Connections must not be handed over without the way back being translated: egress comes before ingress, and goes behind it.

use crate::direction::Direction;

/// Egress first.
const ATTACHING: [Direction; 2] = [Direction::Egress, Direction::Ingress];
/// Ingress first.
const RELEASING: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// Which of the interfaces it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(pub(crate) u32);

/// Why an interface is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An entry has its name: it must be there, and is whatever device has the name.
    Named,
    /// A pattern found it: it is this device, whatever it is called.
    Found,
}

/// An interface that is served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct There<'a> {
    pub(crate) id: Id,
    pub(crate) name: &'a str,
    pub(crate) origin: Origin,
    /// The device that its programs are attached to.
    pub(crate) index: Option<u32>,
    /// For [`Origin::Named`]: the device that it means.
    pub(crate) device: Option<Device>,
}

/// The device that an entry means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// It has the entry's name. A device may have several.
    OfItsName(u32),
    /// The entry's name stands for none any more: the one that is attached to.
    Own(u32),
}

impl Device {
    const fn index(self) -> u32 {
        match self {
            Self::OfItsName(index) | Self::Own(index) => index,
        }
    }
}

/// A device that a pattern finds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) index: u32,
    pub(crate) name: &'a str,
}

/// What to do with one interface. If it fails, the interface's later steps are left out until the next plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// No pattern finds it any more: detaches from it, and forgets it.
    Leave(Id),
    /// It has another name.
    Rename(Id, String),
    /// There is no device for it: lets go of the one that it had, which would take the programs along to another namespace.
    Miss(Id),
    /// Lets go of the device that it had: its name stands for another one.
    LetGo(Id),
    /// Its name stands for this device.
    Meet(Id, u32),
    /// A pattern has found this device.
    Take(Id, Found),
    /// Sees to it that a program is attached to it.
    Ensure(Id, Direction),
    /// Detaches a program from it.
    Release(Id, Direction),
    /// Nothing is attached any more.
    Forget(Id),
}

/// What a pattern has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) index: u32,
    pub(crate) name: String,
}

/// What follows from the devices that are there. `next` is an identity that no interface has.
pub(crate) fn look(there: &[There], sought: &[Candidate], Id(next): Id) -> Vec<Step> {
    let mut steps: Vec<_> = there.iter().flat_map(|one| follow(one, (there, sought))).collect();
    // First devices are let go: others may be given to the same interfaces, and they to others.
    steps.sort_by_key(|step| matches!(step, Step::Meet(..)));
    let is_served = |device: &&Candidate| there.iter().any(|one| is_served_as(one, device));
    let new = (next..).map(Id).zip(sought.iter().filter(|device| !is_served(device)));
    let found = |device: &Candidate| Found { index: device.index, name: device.name.into() };
    steps.extend(new.map(|(id, device)| Step::Take(id, found(device))));
    let is_gone = |id| steps.iter().any(|one| [Step::Leave(id), Step::Miss(id)].contains(one));
    let staying = there.iter().map(|one| one.id).filter(|id| !is_gone(*id));
    let taken = steps.iter().filter(|one| matches!(one, Step::Take(..))).map(Step::id);
    let attached: Vec<_> = staying.chain(taken).collect();
    for direction in ATTACHING {
        steps.extend(attached.iter().map(|id| Step::Ensure(*id, direction)));
    }
    steps
}

/// What to do with an interface before others are taken.
fn follow(one: &There, (there, sought): (&[There], &[Candidate])) -> Vec<Step> {
    match one.origin {
        Origin::Named => follow_name(one, there),
        Origin::Found => follow_device(one, (there, sought)).into_iter().collect(),
    }
}

fn follow_name(one: &There, there: &[There]) -> Vec<Step> {
    // It was renamed to what another entry names.
    let takes = |other: &There, index| {
        other.origin == Origin::Named
            && other.device == Some(Device::OfItsName(index))
            && other.index != Some(index)
    };
    match one.device {
        None => vec![Step::Miss(one.id)],
        Some(Device::Own(index)) => {
            let is_taken = there.iter().any(|other| takes(other, index));
            is_taken.then_some(Step::Miss(one.id)).into_iter().collect()
        }
        Some(Device::OfItsName(index)) if one.index == Some(index) => Vec::new(),
        Some(Device::OfItsName(index)) => {
            let before = one.index.map(|_| Step::LetGo(one.id));
            before.into_iter().chain([Step::Meet(one.id, index)]).collect()
        }
    }
}

fn follow_device(one: &There, (there, sought): (&[There], &[Candidate])) -> Option<Step> {
    // Two interfaces of one device would have each packet handled twice. A name wins over a pattern.
    let has_it = |device: &Candidate| {
        there.iter().any(|other| other.origin == Origin::Named && means(other, device.index))
    };
    match sought.iter().find(|device| Some(device.index) == one.index) {
        Some(device) if !has_it(device) => {
            (one.name != device.name).then(|| Step::Rename(one.id, device.name.into()))
        }
        _ => Some(Step::Leave(one.id)),
    }
}

/// Whether a device is, or will be, what is served as this interface.
fn is_served_as(one: &There, device: &Candidate) -> bool {
    match one.origin {
        Origin::Named => means(one, device.index) || one.name == device.name,
        Origin::Found => one.index == Some(device.index),
    }
}

fn means(one: &There, index: u32) -> bool {
    one.device.is_some_and(|device| device.index() == index)
}

/// The steps that leave these interfaces.
pub(crate) fn release(leaving: &[Id]) -> Vec<Step> {
    let of = |direction| leaving.iter().map(move |id| Step::Release(*id, direction));
    let released = RELEASING.into_iter().flat_map(of);
    released.chain(leaving.iter().map(|id| Step::Forget(*id))).collect()
}

impl Step {
    /// The interface that it is about.
    pub(crate) const fn id(&self) -> Id {
        match self {
            Self::Leave(id)
            | Self::Rename(id, _)
            | Self::Miss(id)
            | Self::LetGo(id)
            | Self::Meet(id, _)
            | Self::Take(id, _)
            | Self::Ensure(id, _)
            | Self::Release(id, _)
            | Self::Forget(id) => *id,
        }
    }
}

#[cfg(test)]
mod tests;
