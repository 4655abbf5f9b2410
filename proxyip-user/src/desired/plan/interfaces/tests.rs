//! The steps, taken one by one by a model of a namespace that is too simple to be wrong.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 5] = ["eth0", "eth1", "eth2", "eth3", "eth4"];

/// A namespace: its devices, and the interfaces that are served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Namespace {
    /// Names by index.
    devices: BTreeMap<u32, String>,
    served: BTreeMap<Id, Served>,
    next: u32,
    next_index: u32,
    /// The directions of the programs at each device, and who has attached them.
    attached: BTreeMap<(u32, Direction), Id>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Served {
    name: String,
    origin: Origin,
    index: Option<u32>,
}

#[derive(Clone, Debug)]
enum Event {
    /// A device with this name, in the place of one that has it.
    Come(usize),
    Go(usize),
    /// Both names are given to the device of the other, if there is one.
    Swap(usize, usize),
    /// An entry names this one from now on, or does not.
    Name(usize),
    /// Patterns find these devices.
    Seek(BTreeSet<usize>),
    /// The agent looks. All steps for one of the interfaces fail.
    Look(Option<prop::sample::Index>),
}

impl Namespace {
    fn device(&self, name: &str) -> Option<u32> {
        self.devices.iter().find(|(_, there)| *there == name).map(|(index, _)| *index)
    }

    fn meant(&self, one: &Served) -> Option<Device> {
        let own = one.index.filter(|index| self.devices.contains_key(index));
        let of_its_name = self.device(&one.name).map(Device::OfItsName);
        of_its_name.or(own.map(Device::Own))
    }

    fn plan(&self, sought: &BTreeSet<usize>) -> Vec<Step> {
        let there = |(id, one): (&Id, &'_ Served)| There {
            id: *id,
            name: NAMES.iter().find(|name| **name == one.name).unwrap(),
            origin: one.origin,
            index: one.index,
            device: self.meant(one),
        };
        let there: Vec<_> = self.served.iter().map(there).collect();
        let sought = self.sought(sought);
        let devices: Vec<_> =
            sought.iter().map(|(index, name)| Candidate { index: *index, name }).collect();
        look(&there, &devices, Id(self.next))
    }

    fn sought(&self, sought: &BTreeSet<usize>) -> BTreeMap<u32, String> {
        let is_sought = |name: &String| sought.iter().any(|at| NAMES[*at] == name);
        let devices = self.devices.iter().filter(|(_, name)| is_sought(name));
        devices.map(|(index, name)| (*index, name.clone())).collect()
    }

    /// Takes the steps; those for one interface fail. Returns for which ones they have failed.
    fn take(&mut self, steps: &[Step], fails: Option<Id>) -> BTreeSet<Id> {
        let mut failed = BTreeSet::from_iter(fails);
        for step in steps {
            if let Step::Meet(id, index) | Step::Take(id, Found { index, .. }) = step
                && self.served.iter().any(|(other, one)| other != id && one.index == Some(*index))
            {
                failed.insert(*id);
            }
            if failed.contains(&step.id()) {
                continue;
            }
            match step {
                Step::Leave(id) => {
                    self.let_go(*id);
                    self.served.remove(id);
                }
                Step::Rename(id, name) => self.served.get_mut(id).unwrap().name.clone_from(name),
                Step::Miss(id) | Step::LetGo(id) => {
                    self.let_go(*id);
                    self.served.get_mut(id).unwrap().index = None;
                }
                Step::Meet(id, index) => {
                    let before = self.served.get_mut(id).unwrap().index.replace(*index);
                    assert_eq!(before, None);
                }
                Step::Take(id, Found { index, name }) => {
                    let (name, origin) = (name.clone(), Origin::Found);
                    let one = Served { name, origin, index: Some(*index) };
                    assert_eq!(self.served.insert(*id, one), None);
                    self.next = self.next.max(id.0 + 1);
                }
                Step::Ensure(id, direction) => {
                    let index = self.served[id].index.unwrap();
                    assert!(self.devices.contains_key(&index));
                    let before = self.attached.insert((index, *direction), *id);
                    assert!(before.is_none_or(|before| before == *id), "two on one device");
                }
                Step::Release(id, direction) => {
                    self.attached.retain(|(_, there), by| (*there, *by) != (*direction, *id));
                }
                Step::Forget(id) => {
                    assert!(self.attached.values().all(|by| by != id));
                    self.served.remove(id);
                }
            }
            self.assert_way_back();
        }
        failed
    }

    fn programs(&self, id: Id) -> Vec<(u32, Direction)> {
        let own = self.attached.iter().filter(|(_, by)| **by == id);
        own.map(|(place, _)| *place).collect()
    }

    fn let_go(&mut self, id: Id) {
        self.attached.retain(|_, by| *by != id);
    }

    /// Where connections are handed over, the way back is translated.
    fn assert_way_back(&self) {
        for (index, direction) in self.attached.keys() {
            let egress = self.attached.contains_key(&(*index, Direction::Egress));
            assert!(*direction == Direction::Egress || egress, "{:?}", self.attached);
        }
    }

    /// What is attached is what names and patterns want of the devices that are there.
    fn assert_is(&self, named: &BTreeSet<usize>, sought: &BTreeSet<usize>) {
        let devices = named.iter().filter_map(|at| self.device(NAMES[*at]));
        // A device whose name has not been given away is still what its entry meant.
        let renamed = self.served.values().filter(|one| one.origin == Origin::Named);
        let renamed = renamed.filter_map(|one| one.index);
        let wanted: BTreeSet<_> =
            devices.chain(renamed).chain(self.sought(sought).into_keys()).collect();
        let both = |index: &u32| ATTACHING.map(|direction| (*index, direction));
        let expected: BTreeSet<_> = wanted.iter().flat_map(both).collect();
        assert_eq!(self.attached.keys().copied().collect::<BTreeSet<_>>(), expected);
    }

    /// Devices come, go and are renamed, whatever is attached.
    fn change(&mut self, event: &Event) {
        let own = |at: &usize| NAMES[*at].to_owned();
        match event {
            Event::Come(at) => {
                self.remove(self.device(NAMES[*at]));
                self.devices.insert(self.next_index, own(at));
                self.next_index += 1;
            }
            Event::Go(at) => self.remove(self.device(NAMES[*at])),
            Event::Swap(a, b) => {
                let (of_a, of_b) = (self.device(NAMES[*a]), self.device(NAMES[*b]));
                self.devices.extend(of_a.map(|index| (index, own(b))));
                self.devices.extend(of_b.filter(|_| a != b).map(|index| (index, own(a))));
            }
            _ => {}
        }
    }

    fn remove(&mut self, device: Option<u32>) {
        if let Some(index) = device {
            self.devices.remove(&index);
            self.attached.retain(|(there, _), _| *there != index);
        }
    }

    /// An entry has this name now, or has it no longer.
    fn name(&mut self, name: &str, is_named: bool) {
        let mut there: Vec<_> = self.served.iter().filter(|(_, one)| one.name == name).collect();
        there.sort_by_key(|(_, one)| one.origin == Origin::Found);
        let there = there.first().map(|(id, _)| **id);
        match there {
            Some(id) if is_named => self.served.get_mut(&id).unwrap().origin = Origin::Named,
            None if is_named => {
                let one = Served { name: name.into(), origin: Origin::Named, index: None };
                self.served.insert(Id(self.next), one);
                self.next += 1;
            }
            Some(id) if self.served[&id].origin == Origin::Named => {
                let steps = release(&[id]);
                self.take(&steps, None);
            }
            _ => {}
        }
    }
}

/// Egress of every interface before ingress of any, nothing twice, and nothing is added before what must go first.
fn assert_in_order(steps: &[Step]) {
    let phase = |step: &Step| match step {
        Step::Leave(_) | Step::Rename(..) | Step::Miss(_) | Step::LetGo(_) => 0,
        Step::Meet(..) => 1,
        Step::Take(..) => 2,
        Step::Ensure(_, Direction::Egress) => 3,
        Step::Ensure(_, Direction::Ingress) => 4,
        Step::Release(..) | Step::Forget(_) => panic!("a look releases nothing"),
    };
    assert!(steps.is_sorted_by_key(phase), "{steps:?}");
    for (at, step) in steps.iter().enumerate() {
        assert!(!steps[..at].contains(step), "{step:?} twice");
    }
}

fn event() -> impl Strategy<Value = Event> {
    let at = || 0..NAMES.len();
    prop_oneof![
        3 => at().prop_map(Event::Come),
        1 => at().prop_map(Event::Go),
        2 => (at(), at()).prop_map(|(a, b)| Event::Swap(a, b)),
        2 => at().prop_map(Event::Name),
        1 => prop::collection::btree_set(at(), 0..=NAMES.len()).prop_map(Event::Seek),
        3 => prop::option::weighted(0.3, any::<prop::sample::Index>()).prop_map(Event::Look),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn steps_lead_to_what_is_wanted_and_the_way_back_is_never_missing(
        events in prop::collection::vec(event(), 1..24),
    ) {
        let mut namespace = Namespace::default();
        let (mut named, mut sought) = (BTreeSet::new(), BTreeSet::new());
        for event in events.iter().chain([&Event::Look(None)]) {
            match event {
                Event::Name(at) => {
                    let is_new = named.insert(*at);
                    if !is_new {
                        named.remove(at);
                    }
                    namespace.name(NAMES[*at], is_new);
                }
                Event::Seek(which) => sought.clone_from(which),
                Event::Look(fails) => {
                    let steps = namespace.plan(&sought);
                    assert_in_order(&steps);
                    let ids: Vec<_> = steps.iter().map(Step::id).collect();
                    let fails = fails.filter(|_| !ids.is_empty()).map(|at| *at.get(&ids));
                    let mut all_well = namespace.clone();
                    all_well.take(&steps, None);
                    let failed = namespace.take(&steps, fails);
                    assert!(fails.is_some() || failed.is_empty());
                    // Those that do not fail have what they would have had.
                    for (id, one) in all_well.served.iter().filter(|(id, _)| !failed.contains(id)) {
                        assert_eq!(namespace.served.get(id), Some(one));
                        assert_eq!(namespace.programs(*id), all_well.programs(*id));
                    }
                    if fails.is_none() {
                        namespace.assert_is(&named, &sought);
                        let again = namespace.plan(&sought);
                        assert!(again.iter().all(|step| matches!(step, Step::Ensure(..) | Step::Miss(_))));
                        let before = namespace.clone();
                        namespace.take(&again, None);
                        assert_eq!(namespace, before);
                    }
                }
                other => namespace.change(other),
            }
        }
    }
}

#[test]
fn ingress_goes_before_egress_and_both_before_the_interface_is_forgotten() {
    let (a, b) = (Id(1), Id(2));
    let (ingress, egress) = (Direction::Ingress, Direction::Egress);
    let expected = [
        Step::Release(a, ingress),
        Step::Release(b, ingress),
        Step::Release(a, egress),
        Step::Release(b, egress),
        Step::Forget(a),
        Step::Forget(b),
    ];
    assert_eq!(release(&[a, b]), expected);
    assert_eq!(release(&[]), []);
}
