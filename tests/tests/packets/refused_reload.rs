//! A reload that the kernel refuses half way: afterwards everything is as before.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData};
use ipnet::IpNet;
use proxyip_api::acl::Verdict;
use proxyip_common::policy::PolicyWords;
use proxyip_common::settings::{DrainedPort, ListenerSettings, MAX_SETS, Name, RETIRED};
use proxyip_tests::Scratch;
use proxyip_user::bpf::pod::Raw;
use proxyip_user::config::{Agent, Config};
use proxyip_user::lifecycle::policy;
use proxyip_user::reconcile::acl::Acl;
use proxyip_user::reconcile::drain::Drain;
use proxyip_user::tables::drained::Change;

/// Sets have so many places; more entries than these fit nowhere.
const JUNK: std::ops::Range<u32> = 1000..1000 + MAX_SETS;

/// The agent's maps, through their pins.
struct Maps(PathBuf);

impl Maps {
    fn of(pin_path: &Path) -> Self {
        let mut entries =
            fs::read_dir(pin_path).expect("pins").map(|one| one.expect("a pin").path());
        Self(entries.find(|path| path.join("SETS").exists()).expect("pinned maps"))
    }

    fn open(&self, name: &str) -> MapData {
        MapData::from_pin(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn array<V: Pod>(&self, name: &str) -> Vec<V> {
        let map: Array<MapData, V> = Map::Array(self.open(name)).try_into().expect("an array");
        (0..map.len()).map(|index| map.get(&index, 0).expect("an entry")).collect()
    }

    /// Places of listeners, and their drained ports.
    fn drained(&self) -> BTreeSet<(u16, u16)> {
        let map: HashMap<MapData, Raw<DrainedPort>, u8> =
            Map::HashMap(self.open("DRAINED")).try_into().expect("drained ports");
        let ports = map.keys().map(|key| key.expect("a drained port").0);
        ports.map(|DrainedPort { listener, port }| (listener, port)).collect()
    }

    fn sets(&self) -> HashMap<MapData, u32, u64> {
        Map::HashMap(self.open("SETS")).try_into().expect("sets")
    }

    /// Leaves no room for another set.
    fn fill_sets(&self) {
        let mut sets = self.sets();
        for place in JUNK {
            sets.insert(place, 0, 0).expect("room");
        }
    }

    /// All that decides on connections, except the numbers of scopes.
    fn in_force(&self) -> impl PartialEq + Debug + use<> {
        let policies: HashMap<MapData, u32, Raw<PolicyWords>> =
            Map::HashMap(self.open("POLICIES")).try_into().expect("policies");
        let mut policies: Vec<_> = policies.iter().map(|entry| entry.expect("a policy")).collect();
        policies.sort_by_key(|(place, _)| *place);
        let settings = self.array::<Raw<ListenerSettings>>("LISTENERS");
        let names = self.array::<Raw<Name>>("LISTENER_NAMES");
        let settings: Vec<_> = settings.into_iter().map(|Raw(one)| one).collect();
        let names: Vec<_> = names.into_iter().map(|Raw(Name(name))| name).collect();
        (policies, settings, names)
    }
}

/// A configuration of these listeners and sets.
fn file(pin_path: &Path, rest: &str) -> Config {
    let head = format!("[agent]\npin_path = '{}'\nmax_flows = 1024\n", pin_path.display());
    Config::from_toml(&format!("{head}{rest}")).unwrap_or_else(|error| panic!("{error:?}"))
}

#[test]
fn a_reload_that_is_refused_half_way_leaves_everything_as_it_was() {
    const BEFORE: &str = "[[listener]]\nname = 'web'\nports = [443]\ntrusted = ['10.0.0.0/8']\n\
        deny = ['203.0.113.0/24']\n";
    const AFTER: &str = "[[listener]]\nname = 'mail'\nports = [25]\ntrusted = ['192.0.2.0/24']\n\
        [[listener]]\nname = 'web'\nports = [443, 8443]\ntrusted = ['172.16.0.0/12']\n\
        versions = ['v2']\nuntrusted = 'reset'\ndenied = 'drop'\nallow = ['198.51.100.0/24']\n\
        [[set]]\nname = 'office'\ncidrs = ['192.0.2.0/24']\n";

    let scratch = Scratch::new();
    let pin_path = scratch.pin_path();
    let control = policy::start(&file(&pin_path, BEFORE)).expect("an agent");
    let by_command: IpNet = "203.0.113.9/32".parse().expect("a network");
    control.set("web", by_command, Verdict::Allow).expect("a rule");
    let maps = Maps::of(&pin_path);
    let before = maps.in_force();
    let ports: Vec<u16> = maps.array("PORTS");
    maps.fill_sets();

    let error = control.reload(&file(&pin_path, AFTER)).expect_err("no room for a set");
    assert!(format!("{error:#}").contains("the sets cannot be written"), "{error:#}");
    assert_eq!(maps.in_force(), before, "settings, policies and names are those of before");
    let mut expected = ports.clone();
    for (port, there) in (0..=u16::MAX).zip(maps.array::<u16>("PORTS")) {
        // Ports that were guarded for a moment may have translated connections.
        let expected = &mut expected[usize::from(port)];
        if *expected == 0 && there == RETIRED {
            *expected = RETIRED;
        }
        assert_eq!(there, *expected, "port {port}");
    }
    let active = control.current().borrow().clone();
    assert_eq!(active.config.listeners.len(), 1, "the old configuration is in force");
    for client in ["203.0.113.1", "203.0.113.9", "198.51.100.1"] {
        let decision = control.test("web", client.parse().expect("an address"));
        let expected = if client == "203.0.113.1" { Verdict::Deny } else { Verdict::Allow };
        assert_eq!(decision.expect("maps and rules agree").verdict, expected, "{client}");
    }

    let mut sets = maps.sets();
    for place in JUNK {
        sets.remove(&place).expect("an entry");
    }
    for _ in 0..2 {
        control.sweep().expect("the maps can be written");
    }
    control.reload(&file(&pin_path, AFTER)).expect("now there is room");
    let decision = control.test("web", "203.0.113.9".parse().expect("an address"));
    assert_eq!(decision.expect("a verdict").verdict, Verdict::Allow, "the rule is still there");
}

/// A place is given to another listener only if there is no unused one.
#[test]
fn what_a_command_drained_is_drained_after_a_reload_that_is_refused() {
    let scratch = Scratch::new();
    let pin_path = scratch.pin_path();
    let listener = |name: &str, port: u32| {
        format!("[[listener]]\nname = '{name}'\nports = [{port}]\ntrusted = ['10.0.0.0/8']\n")
    };
    let before = listener("web", 443) + &listener("mail", 25);
    let room = Agent::default().max_listeners;
    let others = (0..room).map(|number| listener(&format!("l{number}"), 1000 + number));
    let set = "[[set]]\nname = 'office'\ncidrs = ['192.0.2.0/24']\n";
    let after = others.collect::<String>() + set;

    let control = policy::start(&file(&pin_path, &before)).expect("an agent");
    control.drain("web", Some(443), Change::Drain).expect("drained");
    control.drain("mail", None, Change::Drain).expect("drained");
    let maps = Maps::of(&pin_path);
    let (drained, in_force) = (maps.drained(), maps.in_force());
    assert_eq!(drained.len(), 2, "{drained:?}");
    maps.fill_sets();
    control.reload(&file(&pin_path, &after)).expect_err("no room for a set");
    assert_eq!(maps.drained(), drained);
    assert_eq!(maps.in_force(), in_force, "settings say that ports are drained");
    let answer = control.drain("web", Some(443), Change::Resume).expect("it is drained");
    assert_eq!(answer.ports, [0; 0]);
}
