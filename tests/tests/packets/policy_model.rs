//! The policy against a model of it that is too simple to be wrong: reloads, commands and restarts in any order, on the
//! kernel's own maps. Whatever has happened, each client has the verdict of the model, and so has each rule.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use aya::maps::{HashMap, LpmTrie, Map, MapData};
use ipnet::IpNet;
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use proxyip_api::acl::{Origin, Rule, Verdict};
use proxyip_common::settings::{Policy, ScopedAddress};
use proxyip_tests::Scratch;
use proxyip_user::bpf::pod::Raw;
use proxyip_user::config::Config;
use proxyip_user::lifecycle::policy;
use proxyip_user::reconcile::acl::{Acl, AclError, Part};
use proxyip_user::reconcile::control::Control;

use crate::trial::report;

/// Networks within one another, of both families; a bit of a [`List`] for each.
const NETWORKS: [&str; 15] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.1.0/24",
    "10.1.1.128/25",
    "10.1.1.1/32",
    "10.1.1.200/32",
    "::/0",
    // Has all IPv4-mapped addresses, too.
    "::/64",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "2001:db8:1:1::/64",
    "2001:db8:1:1::1/128",
    "::1/128",
    "fd00::/8",
];

/// Clients in each of them and in none, also IPv4-mapped.
const CLIENTS: [&str; 18] = [
    "10.1.1.1",
    "10.1.1.2",
    "10.1.1.129",
    "10.1.1.200",
    "10.1.2.1",
    "10.2.0.1",
    "11.0.0.1",
    "::ffff:10.1.1.1",
    "::ffff:10.2.0.1",
    "::ffff:11.0.0.1",
    "2001:db8:1:1::1",
    "2001:db8:1:1::2",
    "2001:db8:1:2::1",
    "2001:db8:2::1",
    "2001:db9::1",
    "::1",
    "::2",
    "fd00::1",
];

const LISTENERS: [&str; 3] = ["web", "api", "mail"];

/// Some of the [`NETWORKS`].
type List = u16;

fn networks(list: List) -> impl Iterator<Item = IpNet> {
    let chosen = (0..NETWORKS.len()).filter(move |number| list >> number & 1 == 1);
    chosen.map(|number| NETWORKS[number].parse().expect("a network"))
}

/// What the configuration says of a listener.
#[derive(Clone, Copy, Debug)]
struct Lists {
    trusted: List,
    allow: Option<List>,
    deny: List,
}

impl Lists {
    fn toggle(&mut self, list: usize, network: usize) {
        let bit = 1 << network;
        match list {
            // The least that a file may have.
            0 => self.trusted = self.trusted ^ bit | 2,
            1 => self.allow = Some(self.allow.unwrap_or(0) ^ bit),
            _ => self.deny ^= bit,
        }
    }
}

/// A listener by its place in [`LISTENERS`], in the order in which the file has them.
type Listeners = Vec<(usize, Lists)>;

#[derive(Clone, Debug)]
enum Step {
    Reload(Listeners),
    /// With one network more or less in a list: of trusted sources, allowed or denied clients.
    Toggle(usize, usize, usize),
    /// Of a file that the agent must refuse.
    RefusedReload(Listeners),
    Set(usize, usize, bool),
    Remove(usize, usize),
    Sweep,
    /// The agent is killed, and another one started with the same file.
    Restart,
}

fn listeners() -> impl Strategy<Value = Listeners> {
    // Most lists are short, so that clients are in no network or in few.
    let list = || prop_oneof![3 => (any::<u16>(), any::<u16>()).prop_map(|(a, b)| a & b), 1 => any::<u16>()];
    let lists = (list(), proptest::option::of(list()), list());
    let lists = lists.prop_map(|(trusted, allow, deny)| Lists {
        trusted: trusted | 2,
        allow,
        deny: deny & !allow.unwrap_or(0),
    });
    let names = proptest::sample::subsequence(vec![0, 1, 2], 1..=LISTENERS.len()).prop_shuffle();
    (names, proptest::collection::vec(lists, LISTENERS.len()))
        .prop_map(|(names, lists)| names.into_iter().zip(lists).collect())
}

fn step() -> impl Strategy<Value = Step> {
    let listener = 0..LISTENERS.len();
    // On those of a whole family others depend.
    let network = prop_oneof![3 => 0..NETWORKS.len(), 1 => proptest::sample::select(vec![0, 7, 8])];
    prop_oneof![
        3 => listeners().prop_map(Step::Reload),
        5 => (listener.clone(), 0..3_usize, network.clone())
            .prop_map(|(listener, list, network)| Step::Toggle(listener, list, network)),
        1 => listeners().prop_map(Step::RefusedReload),
        5 => (listener.clone(), network.clone(), any::<bool>())
            .prop_map(|(listener, network, allow)| Step::Set(listener, network, allow)),
        4 => (listener, network).prop_map(|(listener, network)| Step::Remove(listener, network)),
        2 => Just(Step::Sweep),
        1 => Just(Step::Restart),
    ]
}

/// What should be in force.
struct Model {
    listeners: Listeners,
    commands: BTreeMap<(usize, IpNet), Verdict>,
}

impl Model {
    fn reload(&mut self, listeners: Listeners) {
        // What commands have said of a listener leaves with it.
        self.commands
            .retain(|(listener, _), _| listeners.iter().any(|(there, _)| there == listener));
        self.listeners = listeners;
    }

    fn lists(&self, listener: usize) -> Option<Lists> {
        self.listeners.iter().find_map(|(there, lists)| (*there == listener).then_some(*lists))
    }

    /// The rules of a listener, of each network the one that counts.
    fn rules(&self, listener: usize, lists: Lists) -> BTreeMap<IpNet, (Verdict, Origin)> {
        let mut rules = BTreeMap::new();
        for (list, verdict) in
            [(lists.allow.unwrap_or(0), Verdict::Allow), (lists.deny, Verdict::Deny)]
        {
            rules.extend(networks(list).map(|network| (network, (verdict, Origin::Configuration))));
        }
        for ((_, network), verdict) in self.commands.iter().filter(|((of, _), _)| *of == listener) {
            rules.insert(*network, (*verdict, Origin::Command));
        }
        rules
    }

    /// An empty list is as none.
    fn otherwise(lists: Lists) -> Verdict {
        let given = networks(lists.allow.unwrap_or(0)).next().is_some();
        if given { Verdict::Deny } else { Verdict::Allow }
    }

    fn verdict(&self, listener: usize, lists: Lists, client: IpAddr) -> Verdict {
        let rules = self.rules(listener, lists);
        let smallest =
            smallest(rules.iter().map(|(network, (verdict, _))| (*network, *verdict)), client);
        smallest.unwrap_or_else(|| Self::otherwise(lists))
    }
}

/// What belongs to the smallest network that has this address.
fn smallest<T>(networks: impl Iterator<Item = (IpNet, T)>, ip: IpAddr) -> Option<T> {
    let ip = ip.to_canonical();
    let with = networks.filter(|(network, _)| network.contains(&ip));
    with.max_by_key(|(network, _)| network.prefix_len()).map(|(_, what)| what)
}

/// A configuration file.
fn file(pin_path: &Path, listeners: &Listeners, more: &str) -> Config {
    let quoted = |list| networks(list).map(|one| format!("'{one}'")).collect::<Vec<_>>().join(",");
    let mut text =
        format!("[agent]\npin_path = '{}'\nmax_flows = 1024\n{more}", pin_path.display());
    for (listener, lists) in listeners {
        let (name, port) = (LISTENERS[*listener], 1000 + listener);
        let (trusted, deny) = (quoted(lists.trusted), quoted(lists.deny));
        let allow =
            lists.allow.map_or_else(String::new, |list| format!("allow = [{}]", quoted(list)));
        let lines = [
            "[[listener]]",
            &format!("name = '{name}'"),
            &format!("ports = [{port}]"),
            &format!("trusted = [{trusted}]"),
            &format!("deny = [{deny}]"),
            &allow,
            "",
        ];
        text.push_str(&lines.join("\n"));
    }
    Config::from_toml(&text).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
}

/// An agent, as far as its policy, and the model beside it.
struct Trial<'a> {
    pin_path: &'a Path,
    control: Control,
    model: Model,
}

impl Trial<'_> {
    fn take(&mut self, step: Step) {
        match step {
            Step::Reload(listeners) => self.reload(listeners),
            Step::Toggle(listener, list, network) => {
                let mut listeners = self.model.listeners.clone();
                if let Some((_, lists)) = listeners.iter_mut().find(|(there, _)| *there == listener)
                {
                    lists.toggle(list, network);
                }
                self.reload(listeners);
            }
            Step::RefusedReload(listeners) => {
                let config = file(self.pin_path, &listeners, "[log]\nflows = 'vpc'\n");
                let refused = self.control.reload(&config);
                refused.expect_err("the log cannot be changed while the agent runs");
            }
            Step::Set(listener, network, allow) => {
                let verdict = if allow { Verdict::Allow } else { Verdict::Deny };
                self.set(listener, NETWORKS[network].parse().expect("a network"), verdict);
            }
            Step::Remove(listener, network) => {
                self.remove(listener, NETWORKS[network].parse().expect("a network"));
            }
            Step::Sweep => self.control.sweep().expect("the maps can be written"),
            Step::Restart => {
                let config = file(self.pin_path, &self.model.listeners, "");
                self.control = policy::start(&config).expect("an agent");
            }
        }
    }

    fn reload(&mut self, listeners: Listeners) {
        let config = file(self.pin_path, &listeners, "");
        self.control.reload(&config).expect("the maps take it");
        self.model.reload(listeners);
    }

    fn set(&mut self, listener: usize, network: IpNet, verdict: Verdict) {
        let done = self.control.set(LISTENERS[listener], network, verdict);
        match self.model.lists(listener) {
            Some(_) => {
                done.expect("a rule");
                self.model.commands.insert((listener, network), verdict);
            }
            None => assert!(matches!(done, Err(AclError::NoListener { .. })), "{done:?}"),
        }
    }

    fn remove(&mut self, listener: usize, network: IpNet) {
        let done = self.control.remove(LISTENERS[listener], network);
        let rules = self.model.lists(listener).map(|lists| self.model.rules(listener, lists));
        let rule = rules.as_ref().map(|rules| rules.get(&network));
        match rule {
            None => assert!(matches!(done, Err(AclError::NoListener { .. })), "{done:?}"),
            Some(None) => assert!(matches!(done, Err(AclError::NoRule { .. })), "{done:?}"),
            Some(Some((_, Origin::Command))) => {
                done.expect("a rule of a command can be removed");
                self.model.commands.remove(&(listener, network));
            }
            Some(Some(_)) => {
                assert!(matches!(done, Err(AclError::NotByCommand { .. })), "{done:?}");
            }
        }
    }

    /// Asserts that the maps say what the model says, of everybody.
    fn compare(&self) {
        for (listener, name) in LISTENERS.iter().enumerate() {
            let part = Part { after: None, limit: NETWORKS.len() };
            let rules = self.control.rules(name, part);
            let Some(lists) = self.model.lists(listener) else {
                assert!(matches!(rules, Err(AclError::NoListener { .. })), "{rules:?}");
                continue;
            };
            let rules = rules.expect("rules");
            assert_eq!(rules.otherwise, Model::otherwise(lists), "{name}");
            let expected: Vec<_> = self.model.rules(listener, lists).into_iter().collect();
            let listed = rules.rules.into_iter();
            let listed: Vec<_> = listed
                .map(|Rule { network, verdict, origin }| (network, (verdict, origin)))
                .collect();
            assert_eq!(listed, expected, "{name}");
            for client in CLIENTS.map(|text| text.parse::<IpAddr>().expect("an address")) {
                // Addresses that commands name come without the mapping.
                let client = client.to_canonical();
                let decision = self.control.test(name, client).expect("maps and rules agree");
                let expected = self.model.verdict(listener, lists, client);
                assert_eq!(decision.verdict, expected, "{client} at {name}");
            }
        }
        self.compare_trust();
    }

    /// Who is trusted only the maps say.
    fn compare_trust(&self) {
        let places = self.control.current();
        let active = places.borrow().clone();
        let maps = Maps::of(self.pin_path);
        for (listener, lists) in &self.model.listeners {
            let (place, _) = active.named(LISTENERS[*listener]).expect("a listener in force");
            for client in CLIENTS.map(|text| text.parse::<IpAddr>().expect("an address")) {
                let trusted = networks(lists.trusted).map(|network| (network, true));
                let expected = smallest(trusted, client).unwrap_or(false);
                assert_eq!(maps.is_trusted(place, client), expected, "{client} at {listener}");
            }
        }
    }
}

/// The agent's maps, through their pins.
struct Maps {
    policies: HashMap<MapData, u32, Raw<Policy>>,
    trusted: LpmTrie<MapData, Raw<ScopedAddress>, u8>,
    clients: LpmTrie<MapData, Raw<ScopedAddress>, u8>,
}

impl Maps {
    fn of(pin_path: &Path) -> Self {
        let mut entries =
            fs::read_dir(pin_path).expect("pins").map(|one| one.expect("a pin").path());
        let directory = entries.find(|path| path.join("POLICIES").exists()).expect("pinned maps");
        let open = |name: &str| MapData::from_pin(directory.join(name)).expect("a pinned map");
        let trie = |name| LpmTrie::try_from(Map::LpmTrie(open(name))).expect("a trie");
        let policies = HashMap::try_from(Map::HashMap(open("POLICIES"))).expect("policies");
        Self { policies, trusted: trie("TRUSTED"), clients: trie("CLIENTS") }
    }

    fn is_trusted(&self, place: u16, source: IpAddr) -> bool {
        let Raw(policy) = self.policies.get(&place.into(), 0).expect("a policy");
        let address = ScopedAddress::new(policy.scope, &crate::state::endpoint(source));
        let key = aya::maps::lpm_trie::Key::new(ScopedAddress::BITS, Raw(address));
        self.trusted.get(&key, 0).is_ok_and(|value| value != 0)
    }

    /// Scopes that have networks and belong to no policy.
    fn left_over(&self) -> Vec<u32> {
        let policies = self.policies.iter().map(|entry| entry.expect("a policy").1.0.scope);
        let in_force: Vec<_> = policies.collect();
        let keys = self.trusted.keys().chain(self.clients.keys());
        let scopes = keys.map(|key| u32::from_be_bytes(key.expect("a key").data().0.scope));
        scopes.filter(|scope| !in_force.contains(scope)).collect()
    }
}

#[test]
fn policy_is_that_of_the_model() {
    const CASES: u32 = 32;
    let scratch = Scratch::new();
    let pin_path = scratch.pin_path();
    // The listeners that leave and come take what a case has left with them.
    let nobody = vec![(0, Lists { trusted: 2, allow: None, deny: 0 })];
    let others = vec![(1, nobody[0].1)];
    let mut runner = TestRunner::new(Runs {
        cases: CASES,
        max_shrink_iters: 64,
        // The maps keep what a case has done, so that a run that is made again begins elsewhere.
        failure_persistence: None,
        ..Runs::default()
    });
    let steps = proptest::collection::vec(step(), 1..16);
    let outcome = runner.run(&steps, |steps| {
        let control = policy::start(&file(&pin_path, &nobody, "")).expect("an agent");
        for listeners in [&others, &nobody] {
            control.reload(&file(&pin_path, listeners, "")).expect("the maps take it");
        }
        let model = Model { listeners: nobody.clone(), commands: BTreeMap::new() };
        let mut trial = Trial { pin_path: &pin_path, control, model };
        for step in steps {
            trial.take(step);
            trial.compare();
        }
        for _ in 0..2 {
            trial.take(Step::Sweep);
        }
        trial.compare();
        assert_eq!(Maps::of(&pin_path).left_over(), [0; 0], "lists that nobody reads");
        Ok(())
    });
    let wrong: Vec<_> = outcome.err().map(|error| error.to_string()).into_iter().collect();
    report("policy against its model", CASES as usize, &wrong);
}
