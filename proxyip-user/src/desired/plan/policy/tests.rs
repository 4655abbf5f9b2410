//! The steps, taken one by one by a model of the maps that is too simple to be wrong.

use ipnet::IpNet;
use proptest::prelude::*;
use proxyip_api::acl::Verdict;
use proxyip_common::settings::access;

use super::*;
use crate::config::Networks;
use crate::desired::networks::verdict_of;

/// Places for listeners; there are more names.
const PLACES: u16 = 3;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// What an agent finds in the maps, and what it knows of them itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Maps {
    names: BTreeMap<u16, String>,
    settings: BTreeMap<u16, ListenerSettings>,
    policies: BTreeMap<u16, Arc<Lists>>,
    commands: BTreeMap<u16, Commands>,
    /// By place.
    drained: BTreeMap<u16, Vec<u16>>,
    set_names: BTreeMap<u16, String>,
    sets: BTreeMap<u16, Arc<Members>>,
    ports: Guarded,
    /// Both lists of each scope.
    scopes: BTreeMap<u32, [Arc<Entries>; 2]>,
    is_started: bool,
}

/// A configuration.
#[derive(Clone, Debug, Default)]
struct File {
    listeners: Vec<Listener>,
    sets: Vec<Set>,
}

#[derive(Clone, Debug)]
enum Event {
    Reload(File),
    /// It ends behind a step, and is undone.
    Broken(File, prop::sample::Index, Undo),
    /// Denies the network that has the listener's number, or drains a port.
    Deny(usize),
    Drain(usize),
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// What commands deny at the listener with this name, and at no other.
fn own_network(name: &str) -> IpNet {
    let number = NAMES.iter().position(|there| *there == name).unwrap();
    net(&format!("198.51.100.{number}/32"))
}

/// The port that commands drain.
fn own_port(name: &str) -> u16 {
    name.as_bytes()[0].into()
}

impl Maps {
    fn view<'a>(&'a self, wanted: &Wanted) -> InForce<'a> {
        let places = wanted.listeners.iter().map(|(place, _)| place).chain(self.policies.keys());
        let listener = |place: &u16| ListenerThere {
            name: self.names.get(place).map_or("", String::as_str),
            settings: self.settings.get(place).copied().unwrap_or_default(),
            lists: self.policies.get(place),
            commands: self.commands.get(place),
            drained: self.drained.get(place).cloned().unwrap_or_default(),
        };
        let set = |place: &u16| SetThere {
            name: self.set_names.get(place).map_or("", String::as_str),
            members: self.sets.get(place),
        };
        let set_places = wanted.sets.iter().map(|(place, _)| place).chain(self.sets.keys());
        InForce {
            listeners: places.map(|place| (*place, listener(place))).collect(),
            sets: set_places.map(|place| (*place, set(place))).collect(),
            ports: self.ports.clone(),
            fallen: BTreeSet::new(),
            next_scope: self.scopes.last_key_value().map_or(1, |(last, _)| last + 1),
            is_started: self.is_started,
        }
    }

    /// The place of each listener: its own, an unused one, or that of a name that has left.
    fn wanted<'a>(&self, file: &'a File) -> Wanted<'a> {
        let has = |place: u16| self.names.get(&place).map_or("", String::as_str);
        let stays = |place: u16| file.listeners.iter().any(|one| one.name == has(place));
        let mut free: Vec<_> = (0..PLACES).filter(|place| !stays(*place)).collect();
        free.sort_by_key(|place| !has(*place).is_empty());
        let mut free = free.into_iter();
        let listeners = file.listeners.iter().map(|one| {
            let own = (0..PLACES).find(|place| has(*place) == one.name);
            (own.or_else(|| free.next()).unwrap(), one)
        });
        let set_place = |set: &Set| u16::from(set.name.as_bytes()[0]);
        Wanted {
            listeners: listeners.collect(),
            sets: file.sets.iter().map(|one| (set_place(one), one)).collect(),
        }
    }

    fn take(&mut self, step: &Step) {
        match step.clone() {
            Step::WriteLists { scope, sources, clients } => {
                let before = self.scopes.insert(scope, [sources, clients]);
                assert_eq!(before, None, "a list is never changed into another");
            }
            Step::SetSettings { place, settings } => {
                self.settings.insert(place, settings);
            }
            Step::Enforce { place, lists } => {
                let written = &self.scopes[&lists.policy.scope];
                assert_eq!(written, &[Arc::clone(&lists.sources), Arc::clone(&lists.clients)]);
                self.policies.insert(place, lists);
            }
            Step::ForgetCommands { place } => {
                self.commands.remove(&place);
                self.drained.remove(&place);
            }
            Step::RestoreCommands { place, commands, drained } => {
                self.commands.insert(place, commands);
                self.drained.insert(place, drained);
            }
            Step::TakePlace { place, name } => drop(self.names.insert(place, name)),
            Step::TakeSetPlace { place, name } => drop(self.set_names.insert(place, name)),
            Step::EnforceSet { place, members } => {
                assert_eq!(self.scopes[&members.scope][1], members.entries);
                self.sets.insert(place, members);
            }
            Step::GuardPorts(ports) => {
                let judged = ports.values().all(|place| {
                    self.policies.contains_key(place) && self.settings.contains_key(place)
                });
                assert!(judged, "a port without a policy");
                self.ports = ports;
            }
            Step::Forget { place } => {
                self.policies.remove(&place);
            }
            Step::ForgetSet { place } => {
                self.sets.remove(&place);
            }
        }
        self.assert_nothing_is_of_others();
    }

    /// What commands have done to a listener is nowhere but at a place of its name.
    fn assert_nothing_is_of_others(&self) {
        for (place, lists) in &self.policies {
            let by_command = |(_, value): &(&IpNet, &u8)| *value & access::FROM_COMMAND != 0;
            for (network, _) in lists.clients.iter().filter(by_command) {
                assert_eq!(own_network(&self.names[place]), *network);
            }
        }
        for (place, drained) in self.drained.iter().filter(|(_, drained)| !drained.is_empty()) {
            assert_eq!(drained, &[own_port(&self.names[place])]);
        }
    }

    /// What the next agent finds.
    fn start_again(&mut self) {
        self.is_started = false;
        self.commands.clear();
        for (place, lists) in &mut self.policies {
            Arc::make_mut(lists).made_from = None;
            let by_command =
                lists.clients.iter().filter(|(_, value)| *value & access::FROM_COMMAND != 0);
            let commands = by_command.map(|(network, value)| (*network, verdict_of(*value)));
            self.commands.insert(*place, commands.collect());
        }
        self.sets.values_mut().for_each(|members| Arc::make_mut(members).made_from = None);
        self.sweep();
    }

    /// Removes lists that nobody reads.
    fn sweep(&mut self) {
        let policies = self.policies.values().map(|lists| lists.policy.scope);
        let named: BTreeSet<_> =
            policies.chain(self.sets.values().map(|members| members.scope)).collect();
        self.scopes.retain(|scope, _| named.contains(scope));
    }

    fn reload(&mut self, file: &File) {
        let wanted = self.wanted(file);
        let Plan { prepare, change, leave } = plan(&self.view(&wanted), &wanted);
        let all = prepare.iter().chain(change.iter().map(|one| &one.step)).chain(&leave);
        assert_in_order(all.clone());
        all.for_each(|one| self.take(one));
        self.is_started = true;
        self.sweep();
        self.assert_is(file);
    }

    /// Takes the first steps of a reload, and undoes what can be undone up to a step.
    fn break_off(&mut self, file: &File, at: prop::sample::Index, undo: Undo) {
        let wanted = self.wanted(file);
        let Plan { prepare, change, leave } = plan(&self.view(&wanted), &wanted);
        let mut before = self.clone();
        before.sweep();
        for one in &prepare {
            self.take(one);
        }
        let count = at.index(change.len() + 1);
        let (done, _) = change.split_at(count);
        for one in done {
            self.take(&one.step);
        }
        match undo {
            Undo::Nothing if count == change.len() => {
                leave[..at.index(leave.len() + 1)].iter().for_each(|one| self.take(one));
            }
            Undo::Nothing => {}
            Undo::Half => {
                let half = done.iter().rev().take(count.div_ceil(2));
                half.for_each(|one| self.take(&one.undo));
            }
            Undo::All => {
                done.iter().rev().for_each(|one| self.take(&one.undo));
                self.sweep();
                assert_eq!(self.as_found(), before.as_found());
            }
        }
    }

    /// What there is to be read: nothing is the same as a value that says nothing.
    fn as_found(&self) -> Self {
        let mut found = self.clone();
        found.names.retain(|_, name| !name.is_empty());
        found.set_names.retain(|_, name| !name.is_empty());
        found.settings.retain(|_, settings| *settings != ListenerSettings::default());
        found.commands.retain(|_, commands| !commands.is_empty());
        found.drained.retain(|_, drained| !drained.is_empty());
        found
    }

    /// The maps say what the file says, and a second reload has nothing to do.
    fn assert_is(&self, file: &File) {
        let wanted = self.wanted(file);
        let mut ports = Guarded::new();
        for (place, listener) in &wanted.listeners {
            assert_eq!(self.names[place], listener.name);
            ports.extend(listener.ports.iter().map(|port| (*port, *place)));
            let commands = self.commands.get(place);
            let expected = Lists::of(listener, commands, (None, self.policies[place].policy.scope));
            assert_eq!(*self.policies[place], expected);
            let drains = self.drained.get(place).is_some_and(|drained| !drained.is_empty());
            assert_eq!(self.settings[place].has(ListenerSettings::DRAINS), drains);
        }
        assert_eq!(self.ports, ports);
        for (place, set) in &wanted.sets {
            assert_eq!(self.set_names[place], set.name);
            assert_eq!(self.sets[place].made_from.as_ref(), Some(&set.networks));
        }
        assert_eq!(self.sets.len(), wanted.sets.len());
        for (place, lists) in &self.policies {
            let stays = wanted.listeners.iter().any(|(there, _)| there == place);
            let commands = self.commands.get(place).map_or(0, Commands::len);
            assert!(stays || (lists.clients.len() == commands && commands > 0), "{lists:?}");
        }
        assert_eq!(plan(&self.view(&wanted), &wanted), Plan::default());
    }

    /// The agent writes what a command says with the same steps as a reload does.
    fn command(&mut self, place: u16, listener: &Listener) {
        self.commands.entry(place).or_default().insert(own_network(&listener.name), Verdict::Deny);
        let scope = self.scopes.last_key_value().map_or(1, |(last, _)| last + 1);
        let lists = Lists::of(listener, self.commands.get(&place), (None, scope));
        self.scopes.insert(scope, [Arc::clone(&lists.sources), Arc::clone(&lists.clients)]);
        self.policies.insert(place, Arc::new(lists));
    }
}

/// What is undone of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undo {
    /// A step fails.
    All,
    /// The agent is killed meanwhile, and started again.
    Half,
    /// The agent is killed, and started again.
    Nothing,
}

/// Lists before what names them, policies before ports, ports before what leaves; and nothing twice.
fn assert_in_order<'a>(steps: impl Iterator<Item = &'a Step>) {
    let (mut places, mut phases) = (BTreeSet::new(), Vec::new());
    for step in steps {
        let (phase, what) = match step {
            Step::WriteLists { scope, .. } => (0, ("lists", *scope)),
            Step::SetSettings { place, .. } => (1, ("settings", (*place).into())),
            Step::Enforce { place, .. } | Step::Forget { place } => {
                (1, ("policy", (*place).into()))
            }
            Step::ForgetCommands { place } => (1, ("commands", (*place).into())),
            Step::TakePlace { place, .. } => (1, ("name", (*place).into())),
            Step::RestoreCommands { .. } => panic!("this only undoes"),
            Step::TakeSetPlace { place, .. } => (1, ("name of set", (*place).into())),
            Step::EnforceSet { place, .. } | Step::ForgetSet { place } => {
                (1, ("set", (*place).into()))
            }
            // The ports that leave go first, from whoever gets their listeners' places.
            Step::GuardPorts(_) if phases.iter().all(|phase| *phase == 0) => continue,
            Step::GuardPorts(_) => (2, ("ports", 0)),
        };
        assert!(places.insert(what), "{what:?} is written twice");
        let leaves = matches!(step, Step::Forget { .. } | Step::ForgetSet { .. });
        phases.push(if leaves { 3 } else { phase });
    }
    let ports = phases.iter().position(|phase| *phase == 2);
    let (before, after) = phases.split_at(ports.unwrap_or(phases.len()));
    assert!(!before.contains(&3) || ports.is_none(), "what leaves is forgotten too early");
    assert!(before.is_sorted() || ports.is_none(), "{phases:?}");
    assert!(after.iter().skip(1).all(|phase| *phase != 2), "{phases:?}");
}

fn list() -> impl Strategy<Value = Networks> {
    let networks = ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32", "::/0"].map(net).to_vec();
    prop::sample::subsequence(networks, 0..=2).prop_map(Networks::from)
}

fn file() -> impl Strategy<Value = File> {
    let names = prop::sample::subsequence(NAMES.to_vec(), 1..=usize::from(PLACES)).prop_shuffle();
    let ports = Just(vec![80, 81, 82, 83, 84, 85]).prop_shuffle();
    let lists = prop::collection::vec((list(), list(), list()), usize::from(PLACES));
    let sets = prop::collection::btree_map(prop::sample::select(vec!["x", "y"]), list(), 0..=2);
    (names, ports, lists, sets).prop_map(|(names, ports, lists, sets)| {
        let listener = |((name, ports), (trusted, allow, deny)): ((&str, &[u16]), _)| Listener {
            name: name.into(),
            ports: ports.to_vec(),
            trusted,
            allow,
            deny,
            ..Listener::default()
        };
        let listeners = names.into_iter().zip(ports.chunks(2)).zip(lists).map(listener);
        let set = |(name, networks): (&str, _)| Set { name: name.into(), networks };
        File { listeners: listeners.collect(), sets: sets.into_iter().map(set).collect() }
    })
}

fn event() -> impl Strategy<Value = Event> {
    let index = any::<prop::sample::Index>;
    let undo = prop::sample::select(vec![Undo::All, Undo::Half, Undo::Nothing]);
    prop_oneof![
        4 => file().prop_map(Event::Reload),
        4 => (file(), index(), undo).prop_map(|(file, at, undo)| Event::Broken(file, at, undo)),
        2 => (0..NAMES.len()).prop_map(Event::Deny),
        1 => (0..NAMES.len()).prop_map(Event::Drain),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn steps_lead_to_what_is_wanted_and_no_listener_gets_the_rules_of_another(
        events in prop::collection::vec(event(), 1..12),
    ) {
        let (mut maps, mut current) = (Maps::default(), File::default());
        maps.reload(&current);
        for event in events {
            match event {
                Event::Reload(file) => {
                    maps.reload(&file);
                    current = file;
                }
                Event::Broken(file, at, undo) => {
                    maps.break_off(&file, at, undo);
                    if undo != Undo::All {
                        maps.start_again();
                        // The next agent may have either file.
                        current = if at.index(2) == 0 { file } else { current };
                        maps.reload(&current);
                    }
                }
                Event::Deny(at) | Event::Drain(at) => {
                    let wanted = maps.wanted(&current);
                    let found = wanted.listeners.iter().find(|(_, one)| one.name == NAMES[at]);
                    let Some((place, listener)) = found else { continue };
                    if matches!(event, Event::Deny(_)) {
                        maps.command(*place, listener);
                    } else {
                        maps.drained.insert(*place, vec![own_port(NAMES[at])]);
                        let settings = maps.settings.entry(*place).or_default();
                        settings.flags |= ListenerSettings::DRAINS;
                    }
                }
            }
        }
    }
}
