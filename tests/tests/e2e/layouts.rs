//! An agent that finds what another version has pinned.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use proxyip_api::flow::LiveFlow;
use proxyip_tests::servers::{EchoServer, PeerNames};
use proxyip_tests::{
    Agent, Answer, Guard, HandOff, Process, Site, address, agent_binary, attempt, eventually, run,
};

use crate::common::{
    CLIENT, StopOnDrop, ask_names, assert_both, assert_echoed, auto_and_translate, exchange,
    header_of_client, open_and_send, open_for, pattern, programs_at, socket_address, trusted_dial,
    version_1,
};

/// What an agent says that does not start.
fn refused(site: &Site, config: &str) -> String {
    let mut command = site.net.server.command(&agent_binary().display().to_string());
    command.args(["run", "--config", config]);
    let answer = Answer::from(attempt(&mut command));
    assert_eq!(answer.code, 1, "{}{}", answer.stdout, answer.stderr);
    answer.stderr
}

/// All pins, with their inodes.
fn pins(directory: &Path) -> Vec<(String, u64)> {
    let mut pins = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory of pins") {
        let entry = entry.expect("an entry");
        if entry.path().is_dir() {
            pins.extend(self::pins(&entry.path()));
        }
        pins.push((entry.path().display().to_string(), entry.metadata().expect("a pin").ino()));
    }
    pins.sort();
    pins
}

#[test]
fn a_map_of_another_size_is_refused_and_nothing_changes() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]);
    let mut agent = Agent::start(&site, &guard);
    let (stream, _) = open_for(&site, 1);
    agent.kill();
    let pin = site.scratch.pin_path().join("maps-14/TRANSLATIONS");
    let path = pin.display().to_string();
    let own = pin.with_file_name("ours");
    fs::rename(&pin, &own).expect("a pin can be renamed");
    let make = |value: &str| {
        let [key, entries, flags] = ["48", "262144", "1"];
        let sizes = ["key", key, "value", value, "entries", entries, "flags", flags];
        let whole = [&["map", "create", &path, "type", "hash"][..], &sizes, &["name", "other"]];
        run("bpftool", &whole.concat());
    };
    make("24");
    let before = pins(&site.scratch.pin_path());
    let config = agent.config().to_owned();
    let said = refused(&site, &config);
    for part in [&*path, "has values of 24 bytes instead of 16", "Nothing has been changed"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(pins(&site.scratch.pin_path()), before);
    // The programs before go on.
    exchange(&stream);
    let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
    fs::rename(&own, &pin).expect("a pin can be renamed");
    agent.start_again();
    site.finish(&mut agent, &[]);
}

/// The agent as a version with this layout, which shares no table with others.
pub(crate) fn version(site: &Site, layout: u32) -> Command {
    let mut command = site.net.server.command(&agent_binary().display().to_string());
    command.env("PROXYIP_TEST_LAYOUT", layout.to_string());
    command
}

/// The directories of maps.
fn layouts(site: &Site) -> Vec<String> {
    let entries = fs::read_dir(site.scratch.pin_path()).expect("a directory of pins");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("maps-")).collect()
}

/// As [`Site::finish`], whatever came while the maps were copied.
fn finish(site: &Site, agent: &mut Agent, drops: &[(&str, u64)]) {
    let held = agent.numbers("drops").get("held").map(|held| ("held", *held));
    let drops: Vec<_> = drops.iter().copied().chain(held).collect();
    site.finish(agent, &drops);
}

/// Upgrades and downgrades. Connections go on, begin and end all the while, and each has its client.
fn other_layouts_are_taken_over_under_load(hand_off: HandOff) {
    const TIMES: u32 = 10;
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]).hand_off(hand_off);
    let mut agent = Agent::start_by(version(&site, 77), &site, &guard);
    let stop = AtomicBool::new(false);
    let opened = AtomicU32::new(1000);
    let mut living: Vec<_> = (0..20).map(|number| open_for(&site, number).0).collect();
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let (stream, _) = open_for(&site, opened.fetch_add(1, Ordering::Relaxed));
                    exchange(&stream);
                }
            });
        }
        for time in 0..TIMES {
            let before = opened.load(Ordering::Relaxed);
            eventually("connections", || {
                (opened.load(Ordering::Relaxed) > before + 20).then_some(())
            });
            agent.kill();
            let layout = 77 + (time + 1) % 2;
            agent.start_again_by(version(&site, layout));
            assert_eq!(layouts(&site), [format!("maps-{layout}")]);
            // All agents write to one log.
            let said = agent.process().stderr();
            let times = said.matches("took over from a version with another layout").count();
            assert_eq!(u32::try_from(times).expect("a few"), time + 1, "{said}");
            living.iter().for_each(exchange);
            living.push(open_for(&site, 100 + time).0);
        }
    });
    for stream in &living {
        let peer = stream.local_addr().unwrap().to_string();
        assert_eq!(agent.ask(&["lookup", &peer, "10.77.1.1:80"]).code, 0, "{peer}");
        assert_echoed(stream, &pattern(100_000));
    }
    for stream in living {
        let peer = stream.local_addr().unwrap().to_string();
        drop(stream);
        agent.wait_event("close", &peer);
    }
    finish(&site, &mut agent, &[]);
}

auto_and_translate! { other_layouts_are_taken_over_under_load }

/// Nothing is rewritten. Who has read its header goes on, and its client is known.
#[test]
fn observed_connections_are_taken_over() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]).hand_off(HandOff::Observe);
    let mut agent = Agent::start_by(version(&site, 77), &site, &guard);
    let mut living = Vec::new();
    for layout in [78, 77].repeat(5) {
        let bytes = [version_1(), b"rest\n".to_vec()].concat();
        let stream = open_and_send(&site, &trusted_dial(80), &bytes);
        let (_, line) = PeerNames::read(&stream);
        assert!(line.starts_with("\"PROXY TCP4 "), "{line}");
        living.push(stream);
        agent.kill();
        agent.start_again_by(version(&site, layout));
        for stream in &living {
            let peer = stream.local_addr().unwrap().to_string();
            let found: LiveFlow = agent.json(&["lookup", &peer, "10.77.1.1:80"]);
            assert_eq!(found.flow.client, socket_address(CLIENT));
        }
    }
    finish(&site, &mut agent, &[]);
}

/// What commands have set has no other place than the maps.
#[test]
fn rules_and_drained_ports_are_taken_over() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]);
    let mut agent = Agent::start_by(version(&site, 77), &site, &guard);
    let ask = |agent: &Agent, arguments: &[&str]| {
        let answer = agent.ask(arguments);
        assert_eq!(answer.code, 0, "{answer:?}");
        answer.stdout
    };
    ask(&agent, &["acl", "deny", "web", "203.0.113.0/24"]);
    ask(&agent, &["listener", "drain", "web"]);
    let rules = ask(&agent, &["acl", "list", "web"]);
    assert!(rules.contains("203.0.113.0/24"), "{rules}");
    for layout in [78, 77] {
        agent.kill();
        agent.start_again_by(version(&site, layout));
        assert_eq!(ask(&agent, &["acl", "list", "web"]), rules);
        assert!(trusted_dial(80).attempt(&site.net.balancer).is_err(), "a drained port");
    }
    ask(&agent, &["listener", "resume", "web"]);
    drop(open_for(&site, 1));
    finish(&site, &mut agent, &[("drained", 2)]);
}

/// An agent that is killed at any step of taking over is followed by another one, which does the rest.
#[test]
fn an_agent_that_is_killed_while_it_takes_over_is_followed_by_another() {
    /// More steps than there are.
    const MOST: u32 = 200;
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]).hand_off(HandOff::Translate);
    let mut agent = Agent::start_by(version(&site, 77), &site, &guard);
    let (stream, _) = open_for(&site, 1);
    let config = agent.config().to_owned();
    let steps = (1..MOST).take_while(|step| {
        agent.kill();
        let layout = 77 + step % 2;
        let mut command = version(&site, layout);
        command.args(["run", "--config", &config]).env("PROXYIP_FAIL_AT", step.to_string());
        let name = format!("killed-{step}");
        let mut killed = Process::start(&name, site.scratch.directory(), &mut command);
        let ended = eventually("the end, or readiness", || {
            if !killed.is_alive() {
                return Some(true);
            }
            killed.stderr().contains("ready; the API answers").then_some(false)
        });
        killed.signal(Signal::SIGKILL);
        killed.wait();
        agent.start_again_by(version(&site, layout));
        assert_eq!(layouts(&site), [format!("maps-{layout}")]);
        exchange(&stream);
        drop(open_for(&site, 1 + step));
        ended
    });
    let steps = steps.count();
    assert!((20..MOST as usize - 1).contains(&steps), "{steps} steps");
    finish(&site, &mut agent, &[]);
}

/// `proxyip detach` of one version, while connections of another one are translated.
#[test]
fn detach_waits_for_translated_connections_of_another_layout() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]).hand_off(HandOff::Translate);
    let mut agent = Agent::start_by(version(&site, 77), &site, &guard);
    let [(first, _), (second, client)] = [1, 2].map(|number| open_for(&site, number));
    agent.kill();
    let detach = |drain: &str| {
        let mut command = version(&site, 78);
        command.args(["detach", "--drain", drain, "--pin-path"]).arg(site.scratch.pin_path());
        Process::start("detach", site.scratch.directory(), &mut command)
    };
    let mut detaching = detach("60");
    let left = |count: &'static str| {
        move |process: &Process| {
            process.stderr().contains(&format!("connections: {count};")).then_some(())
        }
    };
    detaching.ready("says how many are left", left("2"));
    [&first, &second].into_iter().for_each(exchange);
    drop(first);
    detaching.ready("says how many are left", left("1"));
    exchange(&second);
    assert_eq!(layouts(&site), ["maps-77"]);
    // The operator loses patience.
    detaching.signal(Signal::SIGTERM);
    detaching.wait();
    exchange(&second);
    let mut detaching = detach("0");
    assert_eq!(detaching.wait().code(), Some(0), "{}", detaching.stderr());
    let peer = second.local_addr().expect("a bound socket").to_string();
    let said = detaching.stderr();
    let is_named =
        |line: &str| [&peer, &client.to_string(), "is cut"].iter().all(|part| line.contains(*part));
    assert!(said.lines().any(is_named), "{said}");
    assert!(proxyip_tests::is_reset(&second));
    assert!(!site.scratch.pin_path().exists());
    assert!(programs_at(&site.net.server, "eth0").is_empty());
}
