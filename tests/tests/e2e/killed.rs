//! An agent that is killed at any step of a start or a reload: the next one makes the host right again.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use aya::maps::{Array, Map, MapData};
use nix::sys::signal::Signal;
use proxyip_api::status::Status;
use proxyip_common::settings::RETIRED;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{
    Agent, Dial, Guard, HandOff, Pod, Process, Site, address, agent_binary, eventually,
};

use crate::common::{
    CLIENT, ask_names, assert_both, assert_left_alone, header_of_client, open_and_send,
    programs_at, socket_address, trusted_dial,
};

/// More steps than there are.
const MOST: u32 = 400;

/// One of so many steps is tried.
fn stride() -> u32 {
    // `cargo xtask nightly` tries all.
    if std::env::var_os("PROXYIP_TEST_ALL_STEPS").is_some() { 1 } else { 12 }
}

/// The steps that are tried. They differ from run to run if not all are.
fn tried() -> impl Iterator<Item = u32> {
    let first = 1 + std::process::id() % stride();
    (first..MOST).step_by(stride().try_into().expect("a small number"))
}

/// What the file says, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Few,
    /// More listeners, another list, a set, one interface more, and a namespace that a pattern finds.
    Many,
}

impl State {
    const fn other(self) -> Self {
        match self {
            Self::Few => Self::Many,
            Self::Many => Self::Few,
        }
    }

    fn guard(self, site: &Site) -> Guard {
        // Otherwise there is a warning that lists are bypassed.
        let web = |ports: &[u16]| {
            Guard::ports(ports).setting("untrusted = \"reset\"").also_trusting(Pod::NETWORK)
        };
        match self {
            Self::Few => web(&[80, 81]).deny("203.0.113.0/24"),
            Self::Many => {
                let api = Guard::ports(&[81]).named("api").hand_off(HandOff::Translate);
                web(&[80, 82])
                    .deny("198.51.100.0/24")
                    .with(&api)
                    .set("office", "cidrs = [\"198.51.100.0/24\"]")
                    .agent_setting("[[interface]]\nname = \"eth9\"")
                    .interface_setting(&format!(
                        "[[interface]]\nname = \"eth*\"\nnetns = \"/run/netns/{}-pod*\"",
                        site.scratch.name()
                    ))
            }
        }
    }

    fn listeners(self) -> &'static [(&'static str, &'static [u16])] {
        match self {
            Self::Few => &[("web", &[80, 81])],
            Self::Many => &[("web", &[80, 82]), ("api", &[81])],
        }
    }
}

/// What an agent has in the kernel: pins, programs in their order, guarded ports.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    pins: BTreeSet<String>,
    programs: [Vec<String>; 3],
    ports: Vec<u16>,
}

fn names_below(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("a directory of pins") {
        let path = entry.expect("an entry").path();
        // An empty directory is as good as none.
        if path.is_dir() {
            names_below(&path, names);
        } else {
            names.insert(path.display().to_string());
        }
    }
}

fn kept(site: &Site, pod: &Pod) -> Kept {
    let mut pins = BTreeSet::new();
    names_below(&site.scratch.pin_path(), &mut pins);
    let map = pins.iter().find(|pin| pin.ends_with("/PORTS")).expect("a pinned map");
    let map = Map::Array(MapData::from_pin(map).expect("a pinned map"));
    let map: Array<MapData, u16> = map.try_into().expect("an array");
    let guards = |port: &u16| ![0, RETIRED].contains(&map.get(&(*port).into(), 0).expect("a port"));
    let ports = (0..=u16::MAX).filter(guards).collect();
    let [first, second] =
        ["eth0", "eth9"].map(|interface| programs_at(&site.net.server, interface));
    Kept { pins, programs: [first, second, programs_at(&pod.namespace, "eth0")], ports }
}

/// Asserts that the host is as this file wants it.
fn assert_is(site: &Site, (agent, pod): (&Agent, &Pod), state: State) {
    let Status { listeners, findings, warnings, .. } = agent.status();
    let listeners: Vec<_> = listeners.iter().map(|one| (&*one.name, &*one.ports)).collect();
    assert_eq!(listeners, state.listeners());
    assert_eq!((findings, warnings), Default::default());
    let denied = |dial: &Dial| {
        let stream = open_and_send(site, dial, &header_of_client());
        assert!(proxyip_tests::is_reset(&stream), "{dial:?}");
    };
    let shown = |port| {
        let stream = open_and_send(site, &trusted_dial(port), &header_of_client());
        assert_both(ask_names(&stream), socket_address(CLIENT));
    };
    shown(81);
    match state {
        State::Few => {
            shown(80);
            for dial in [trusted_dial(82), pod.dial()] {
                assert_left_alone(site, &dial);
            }
        }
        State::Many => [trusted_dial(80), trusted_dial(82), pod.dial()].iter().for_each(denied),
    }
}

struct Scene<'a> {
    site: &'a Site,
    pod: &'a Pod,
    agent: Agent<'a>,
    /// What a healthy agent has, in either state.
    healthy: [Kept; 2],
}

fn agent_with(site: &Site, variables: &[(&str, u32)]) -> Command {
    let mut command = site.net.server.command(&agent_binary().display().to_string());
    command.envs(variables.iter().map(|(name, value)| (name, value.to_string())));
    command
}

fn prepare() -> (Site, Vec<EchoServer>, Pod) {
    let site = Site::without_captures();
    site.net.server.ip("link add eth9 type veth peer name eth8");
    for end in ["eth8", "eth9"] {
        site.net.server.ip(&format!("link set {end} up"));
    }
    let echo = |port| EchoServer::start(&site.net.server, address::SERVER, port);
    let servers = [80, 81, 82].map(echo).into();
    let pod = Pod::start(&site, 1);
    (site, servers, pod)
}

impl<'a> Scene<'a> {
    /// An agent in the first state.
    fn of(site: &'a Site, pod: &'a Pod) -> Self {
        let mut agent = Agent::start(site, &State::Many.guard(site));
        let many = kept(site, pod);
        assert!(agent.reload(&State::Few.guard(site)).contains("in force"));
        Self { site, pod, agent, healthy: [kept(site, pod), many] }
    }

    fn assert_right(&self, state: State) {
        assert_is(self.site, (&self.agent, self.pod), state);
        assert_eq!(kept(self.site, self.pod), self.healthy[usize::from(state == State::Many)]);
    }

    /// What was written and is not read any more is removed within seconds.
    fn finish(mut self) {
        let drops = self.agent.numbers("drops");
        let drops: Vec<_> = drops.iter().map(|(label, count)| (&**label, *count)).collect();
        assert!(drops.iter().all(|(label, _)| *label == "denied_reset"), "{drops:?}");
        self.site.finish(&mut self.agent, &drops);
    }
}

#[test]
fn in_a_reload() {
    let (site, _servers, pod) = prepare();
    let mut scene = Scene::of(&site, &pod);
    let mut state = State::Few;
    let mut survived = [false; 2];
    let mut killed = 0;
    for step in tried() {
        // There and back: each is killed at this step.
        for _ in 0..2 {
            scene.agent.kill();
            scene.agent.start_again_by(agent_with(&site, &[("PROXYIP_FAIL_IN_RELOAD", step)]));
            scene.assert_right(state);
            state = state.other();
            scene.agent.configure(&state.guard(&site));
            let lives = lives_through_reload(&mut scene.agent);
            survived[usize::from(state == State::Many)] = lives;
            killed += u32::from(!lives);
        }
        if survived == [true; 2] {
            break;
        }
    }
    eprintln!("killed {killed} times in reloads");
    assert_eq!(survived, [true; 2], "more steps than {MOST}");
    assert!(killed >= 2 * (15 / stride()), "killed {killed} times");
    scene.assert_right(state);
    scene.finish();
}

#[test]
fn in_a_start() {
    let (site, _servers, pod) = prepare();
    let mut scene = Scene::of(&site, &pod);
    let mut state = State::Few;
    let mut killed = 0;
    for (number, step) in tried().enumerate() {
        let mut survived = true;
        // What an agent with another file has left is there; then nothing is.
        let both = [Before::Other, Before::Nothing];
        let stops = if stride() == 1 { &both[..] } else { &both[number % 2..][..1] };
        for before in stops {
            scene.agent.kill();
            if *before == Before::Nothing {
                let pin_path = site.scratch.pin_path().display().to_string();
                let answer = scene.agent.ask(&["detach", "--drain", "0", "--pin-path", &pin_path]);
                assert_eq!(answer.code, 0, "{answer:?}");
            }
            state = state.other();
            scene.agent.configure(&state.guard(&site));
            let lives = starts(&site, scene.agent.config(), step);
            scene.agent.start_again();
            scene.assert_right(state);
            killed += u32::from(!lives);
            survived &= lives;
        }
        if survived {
            eprintln!("killed {killed} times in starts");
            assert!(killed >= 20 / stride(), "killed {killed} times");
            return scene.finish();
        }
    }
    panic!("more steps than {MOST}");
}

/// Has the agent reload. Whether it outlives that.
fn lives_through_reload(agent: &mut Agent) -> bool {
    let said = "SIGHUP: the configuration is in force";
    let before = agent.process().stderr().matches(said).count();
    agent.process().signal(Signal::SIGHUP);
    eventually("its end, or the end of the reload", || {
        let process = agent.process();
        let is_over = process.stderr().matches(said).count() > before;
        if process.is_alive() { is_over.then_some(true) } else { Some(false) }
    })
}

/// There is a place for one listener only, so that each one gets that of the other.
#[test]
fn no_listener_gets_what_commands_have_done_to_another() {
    let site = Site::without_captures();
    let guard = |name: &str| Guard::ports(&[80]).named(name).agent_setting("max_listeners = 1");
    let mut agent = Agent::start(&site, &guard("web"));
    let ask = |agent: &Agent, arguments: &[&str]| {
        let answer = agent.ask(arguments);
        assert_eq!(answer.code, 0, "{answer:?}");
        answer.stdout
    };
    for step in 1..MOST {
        agent.kill();
        agent.configure(&guard("web"));
        agent.start_again_by(agent_with(&site, &[("PROXYIP_FAIL_IN_RELOAD", step)]));
        ask(&agent, &["acl", "deny", "web", "203.0.113.66"]);
        ask(&agent, &["listener", "drain", "web"]);
        agent.configure(&guard("api"));
        let lives = lives_through_reload(&mut agent);
        if !lives {
            agent.start_again();
        }
        assert!(!ask(&agent, &["acl", "list", "api"]).contains("203.0.113.66"), "step {step}");
        let drained = agent.status().listeners.into_iter().flat_map(|one| one.drained);
        assert_eq!(drained.count(), 0, "step {step}");
        if lives {
            assert!(step > 8, "killed in {step} steps only");
            return site.finish(&mut agent, &[]);
        }
    }
    panic!("more steps than {MOST}");
}

/// What a start finds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Other,
    Nothing,
}

/// Starts an agent that kills itself at this step. Whether it became ready all the same; it is dead in any case.
fn starts(site: &Site, config: &str, step: u32) -> bool {
    let mut command = agent_with(site, &[("PROXYIP_FAIL_AT", step)]);
    command.args(["run", "--config", config]);
    let name = format!("killed-{step}");
    let mut process = Process::start(&name, site.scratch.directory(), &mut command).quietly();
    let lives = eventually("its end, or readiness", || {
        if process.is_alive() {
            process.stderr().contains("ready; the API answers").then_some(true)
        } else {
            Some(false)
        }
    });
    process.signal(Signal::SIGKILL);
    process.wait();
    lives
}
