//! The steps from the policy in force to that of a configuration.
//!
//! No connection is judged by a mixture. No listener gets the rules of another one, whichever step is the last one before
//! the agent is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proxyip_common::settings::ListenerSettings;

use crate::config::{Listener, Set};
use crate::desired::lists::{Lists, Members};
use crate::desired::networks::{Commands, Entries};
use crate::desired::settings::settings_of;

/// The place of the listener that guards each port.
pub(crate) type Guarded = BTreeMap<u16, u16>;

/// What the maps say.
#[derive(Debug, Default)]
pub(crate) struct InForce<'a> {
    /// By place: those that have lists, and those of the configuration.
    pub(crate) listeners: BTreeMap<u16, ListenerThere<'a>>,
    /// By place: those that have members, and those of the configuration.
    pub(crate) sets: BTreeMap<u16, SetThere<'a>>,
    pub(crate) ports: Guarded,
    /// Ports that have fallen back in some namespace.
    pub(crate) fallen: BTreeSet<u16>,
    /// The first that nothing has.
    pub(crate) next_scope: u32,
    /// A configuration of this agent's is in force.
    pub(crate) is_started: bool,
}

/// What is at the place of a listener.
#[derive(Debug, Default)]
pub(crate) struct ListenerThere<'a> {
    /// Empty if the place is nobody's.
    pub(crate) name: &'a str,
    pub(crate) settings: ListenerSettings,
    pub(crate) lists: Option<&'a Arc<Lists>>,
    pub(crate) commands: Option<&'a Commands>,
    /// Its ports that are drained, or [`DrainedPort::ALL`](proxyip_common::settings::DrainedPort::ALL).
    pub(crate) drained: Vec<u16>,
}

/// What is at the place of a set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SetThere<'a> {
    pub(crate) name: &'a str,
    pub(crate) members: Option<&'a Arc<Members>>,
}

/// What a configuration has, each with its place.
#[derive(Debug, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) listeners: Vec<(u16, &'a Listener)>,
    pub(crate) sets: Vec<(u16, &'a Set)>,
}

impl Wanted<'_> {
    fn listener_at(&self, place: u16) -> Option<&Listener> {
        self.listeners.iter().find(|(there, _)| *there == place).map(|(_, listener)| *listener)
    }

    fn ports(&self) -> Guarded {
        let of = |(place, listener): &(u16, &Listener)| {
            let place = *place;
            listener.ports.iter().map(move |port| (*port, place)).collect::<Vec<_>>()
        };
        self.listeners.iter().flat_map(of).collect()
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Writes lists where nobody looks.
    WriteLists {
        scope: u32,
        sources: Arc<Entries>,
        clients: Arc<Entries>,
    },
    SetSettings {
        place: u16,
        settings: ListenerSettings,
    },
    /// Has the kernel programs judge by these lists.
    Enforce {
        place: u16,
        lists: Arc<Lists>,
    },
    /// Forgets what commands have done to the listener whose place this was.
    ForgetCommands {
        place: u16,
    },
    /// Notes it again: rules, and ports that are drained.
    RestoreCommands {
        place: u16,
        commands: Commands,
        drained: Vec<u16>,
    },
    TakePlace {
        place: u16,
        name: String,
    },
    TakeSetPlace {
        place: u16,
        name: String,
    },
    EnforceSet {
        place: u16,
        members: Arc<Members>,
    },
    /// Guards these ports, and no others.
    GuardPorts(Guarded),
    /// Leaves no policy at a place.
    Forget {
        place: u16,
    },
    ForgetSet {
        place: u16,
    },
}

/// A step, and the one that undoes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) step: Step,
    pub(crate) undo: Step,
}

/// What to do, in three parts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// No program sees these. This is what usually fails, for want of room.
    pub(crate) prepare: Vec<Step>,
    /// If one fails, it and those before it are undone, the last one first.
    pub(crate) change: Vec<Change>,
    /// No port leads there any more.
    pub(crate) leave: Vec<Step>,
}

/// From what is in force to what is wanted.
pub(crate) fn plan(there: &InForce, wanted: &Wanted) -> Plan {
    let mut planner = Planner { there, next_scope: there.next_scope, plan: Plan::default() };
    planner.give_up_ports(wanted);
    for (place, listener) in &wanted.listeners {
        planner.listener(*place, listener);
    }
    for (place, set) in &wanted.sets {
        planner.set(*place, set);
    }
    planner.ports(wanted);
    planner.leave(wanted);
    planner.plan
}

/// The scopes that steps write.
pub(crate) fn scopes(steps: &[Step]) -> impl Iterator<Item = u32> {
    steps.iter().filter_map(|step| match step {
        Step::WriteLists { scope, .. } => Some(*scope),
        _ => None,
    })
}

struct Planner<'a> {
    there: &'a InForce<'a>,
    next_scope: u32,
    plan: Plan,
}

impl Planner<'_> {
    fn listener(&mut self, place: u16, listener: &Listener) {
        let none = ListenerThere::default();
        let there = self.there.listeners.get(&place).unwrap_or(&none);
        let settings = self.settings(there, listener);
        let lists = self.lists(there, listener);
        if settings != there.settings {
            let undo = Step::SetSettings { place, settings: there.settings };
            self.change(Step::SetSettings { place, settings }, undo);
        }
        if there.lists.is_none_or(|there| !lists.is(there)) {
            let before = there.lists.cloned();
            let undo =
                before.map_or(Step::Forget { place }, |lists| Step::Enforce { place, lists });
            self.change(Step::Enforce { place, lists: Arc::new(lists) }, undo);
        }
        if there.name != listener.name {
            self.take_place(place, there, listener);
        }
    }

    /// Gives the place of another listener away. If the agent is killed on the way, what commands have done is at a place of
    /// that listener's name, or nowhere: the next agent goes by the names. The same holds on the way back.
    fn take_place(&mut self, place: u16, there: &ListenerThere, listener: &Listener) {
        let (commands, drained) = (there.commands.cloned().unwrap_or_default(), &there.drained);
        if !commands.is_empty() || !drained.is_empty() {
            let undo = Step::RestoreCommands { place, commands, drained: drained.clone() };
            self.change(Step::ForgetCommands { place }, undo);
        }
        let undo = Step::TakePlace { place, name: there.name.into() };
        self.change(Step::TakePlace { place, name: listener.name.clone() }, undo);
    }

    fn change(&mut self, step: Step, undo: Step) {
        self.plan.change.push(Change { step, undo });
    }

    fn settings(&self, there: &ListenerThere, listener: &Listener) -> ListenerSettings {
        let (stays, old) = (there.name == listener.name, there.settings);
        let mut new = settings_of(listener);
        // Connections that are marked keep their mark.
        new.flags |= old.flags & ListenerSettings::MARKS;
        // What has been learnt lasts until the agent is started again.
        if self.there.is_started && old.hand_off == new.hand_off {
            new.flags |= old.flags & ListenerSettings::FALLS_BACK;
        }
        // A port keeps its fallback under a listener that never fell back.
        if listener.ports.iter().any(|port| self.there.fallen.contains(port)) {
            new.flags |= ListenerSettings::FALLS_BACK;
        }
        if stays && !there.drained.is_empty() {
            new.flags |= ListenerSettings::DRAINS;
        }
        new
    }

    /// Sorting a million networks takes a second, so it is done for new ones alone.
    fn lists(&mut self, there: &ListenerThere, listener: &Listener) -> Lists {
        // Not those of a listener that has left.
        let stays = there.name == listener.name;
        let made_from = there.lists.and_then(|there| there.made_from.as_ref());
        let is_same = stays && made_from.is_some_and(|made| made.is_of(listener));
        if let Some(same) = there.lists.filter(|_| is_same) {
            return Lists::clone(same).with_policy(listener, Some(same));
        }
        let commands = there.commands.filter(|_| stays);
        let lists = Lists::of(listener, commands, (there.lists, self.next_scope));
        self.prepare(lists.policy.scope, (&lists.sources, &lists.clients));
        lists
    }

    fn set(&mut self, place: u16, set: &Set) {
        let there = self.there.sets.get(&place).copied().unwrap_or_default();
        let made_from = there.members.and_then(|there| there.made_from.as_ref());
        if made_from != Some(&set.networks) {
            let members = Members::of(set, (there.members, self.next_scope));
            self.prepare(members.scope, (&Arc::default(), &members.entries));
            let before = there.members.cloned();
            let undo = before
                .map_or(Step::ForgetSet { place }, |members| Step::EnforceSet { place, members });
            self.change(Step::EnforceSet { place, members: Arc::new(members) }, undo);
        }
        if there.name != set.name {
            let undo = Step::TakeSetPlace { place, name: there.name.into() };
            self.change(Step::TakeSetPlace { place, name: set.name.clone() }, undo);
        }
    }

    /// Writes lists before anything changes, if this scope is new.
    fn prepare(&mut self, scope: u32, lists: (&Arc<Entries>, &Arc<Entries>)) {
        let step = self.write(scope, lists);
        self.plan.prepare.extend(step);
    }

    fn write(
        &mut self,
        scope: u32,
        (sources, clients): (&Arc<Entries>, &Arc<Entries>),
    ) -> Option<Step> {
        let is_new = scope == self.next_scope;
        let (sources, clients) = (Arc::clone(sources), Arc::clone(clients));
        is_new.then(|| {
            self.next_scope = scope.wrapping_add(1);
            Step::WriteLists { scope, sources, clients }
        })
    }

    /// A port that leaves must not be judged by whoever gets its listener's place.
    fn give_up_ports(&mut self, wanted: &Wanted) {
        let there = self.there;
        let is_given = |place: &u16| {
            let (before, after) = (there.listeners.get(place), wanted.listener_at(*place));
            before.zip(after).is_some_and(|(before, after)| before.name != after.name)
        };
        let ports = wanted.ports();
        let mut staying = there.ports.clone();
        staying.retain(|port, place| ports.contains_key(port) || !is_given(place));
        if staying != there.ports {
            self.change(Step::GuardPorts(staying), Step::GuardPorts(there.ports.clone()));
        }
    }

    fn ports(&mut self, wanted: &Wanted) {
        let ports = wanted.ports();
        if ports != self.there.ports {
            self.change(Step::GuardPorts(ports), Step::GuardPorts(self.there.ports.clone()));
        }
    }

    /// What commands have said of a listener that leaves is kept: it may come back.
    fn leave(&mut self, wanted: &Wanted) {
        for (&place, there) in &self.there.listeners {
            let leaves = wanted.listeners.iter().all(|(stays, _)| *stays != place);
            let Some(lists) = there.lists.filter(|_| leaves) else { continue };
            match there.commands.filter(|commands| !commands.is_empty()) {
                None => self.plan.leave.push(Step::Forget { place }),
                Some(commands) => {
                    let Some(kept) = Lists::kept(commands, (lists, self.next_scope)) else {
                        continue;
                    };
                    let write = self.write(kept.policy.scope, (&kept.sources, &kept.clients));
                    self.plan.leave.extend(write);
                    self.plan.leave.push(Step::Enforce { place, lists: Arc::new(kept) });
                }
            }
        }
        for (&place, there) in &self.there.sets {
            let leaves = wanted.sets.iter().all(|(stays, _)| *stays != place);
            if leaves && there.members.is_some() {
                self.plan.leave.push(Step::ForgetSet { place });
            }
        }
    }
}

#[cfg(test)]
mod tests;
