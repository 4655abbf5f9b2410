//! The agent finds out what others change of its attachments, and mends it.

use std::fs;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{SchedClassifier, TcAttachType};
use nix::sys::signal::Signal;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Answer, Guard, Pod, Process, Site, address, agent_binary, attempt};
use proxyip_tests::{eventually, run};

use crate::common::{CLIENT, ask_names, assert_both, assert_left_alone, header_of_client};
use crate::common::{exchange, open_and_send, open_for, programs_at, socket_address, trusted_dial};

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory of pins");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// Of pins.
fn directories(site: &Site) -> Vec<PathBuf> {
    entries(&site.scratch.pin_path())
}

fn links(site: &Site) -> Vec<PathBuf> {
    entries(&site.scratch.pin_path().join("links"))
}

fn link_of(site: &Site, direction: &str) -> String {
    let is_it = |pin: &PathBuf| pin.file_name().unwrap().to_string_lossy().starts_with(direction);
    links(site).into_iter().find(is_it).expect("a pinned link").display().to_string()
}

/// How many programs and pins the agent has put back.
fn mended(agent: &Agent) -> u64 {
    let reply = agent.api().reply("GET", "/metrics");
    let metrics = String::from_utf8(reply.body).expect("text");
    let line = metrics.lines().find_map(|line| line.strip_prefix("proxyip_mended_total "));
    line.expect("the metric").parse().expect("a number")
}

fn wait_mended(agent: &Agent, at_least: u64) {
    eventually(&format!("{at_least} mended"), || (mended(agent) >= at_least).then_some(()));
}

fn assert_guarded(site: &Site) {
    let stream = open_and_send(site, &trusted_dial(80), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
}

#[test]
fn links_that_others_detach_are_attached_again() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let links = links(&site);
    for link in &links {
        run("bpftool", &["link", "detach", "pinned", &link.display().to_string()]);
    }
    wait_mended(&agent, links.len().try_into().expect("a few"));
    for part in ["the ingress program of interface eth0 was not", "the program at cgroup_sock_ops"]
    {
        agent.wait_diagnostic(part);
    }
    assert_guarded(&site);
    assert_eq!(agent.api().request("GET", "/readyz").0, 200);
    // The next agent finds the new links, and no others.
    agent.process().signal(Signal::SIGTERM);
    agent.process().wait();
    agent.start_again();
    assert_guarded(&site);
    assert_eq!(programs_at(&site.net.server, "eth0"), ["proxyip_ingress", "proxyip_egress"]);
    site.finish(&mut agent, &[]);
}

#[test]
fn pins_that_others_remove_are_made_again() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let (stream, client) = open_for(&site, 1);
    let pins: Vec<_> = directories(&site).iter().flat_map(|directory| entries(directory)).collect();
    for directory in directories(&site) {
        fs::remove_dir_all(directory).expect("pins can be removed");
    }
    exchange(&stream);
    eventually("all pins are there again", || pins.iter().all(|pin| pin.exists()).then_some(()));
    wait_mended(&agent, pins.len().try_into().expect("a few"));
    agent.process().signal(Signal::SIGTERM);
    agent.process().wait();
    exchange(&stream);
    agent.start_again();
    let peer = stream.local_addr().expect("a bound socket").to_string();
    let found = agent.ask(&["lookup", &peer, "10.77.1.1:80"]);
    assert_eq!((found.code, found.stdout), (0, client.to_string()), "{}", found.stderr);
    assert_guarded(&site);
    site.finish(&mut agent, &[]);
}

/// The programs of a namespace that comes would share nothing with the rest.
#[test]
fn a_map_that_others_pin_in_the_place_of_an_own_one_is_exchanged_again() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let netns = format!("/run/netns/{}-pod*", site.scratch.name());
    let pods = format!("[[interface]]\nname = \"eth0\"\nnetns = {netns:?}");
    let guard = Guard::ports(&[80]).also_trusting(Pod::NETWORK).interface_setting(&pods);
    let mut agent = Agent::start(&site, &guard);
    let is_maps = |directory: &PathBuf| directory.join("PLACES").exists();
    let maps = directories(&site).into_iter().find(is_maps).expect("a directory of maps");
    let pins = ["PLACES", "PROGRAMS"].map(|name| maps.join(name));
    let id = |pin: &PathBuf| {
        let shown = run("bpftool", &["-j", "map", "show", "pinned", &pin.display().to_string()]);
        serde_json::from_str::<serde_json::Value>(&shown).expect("JSON")["id"].clone()
    };
    let before = pins.each_ref().map(id);
    for (pin, kind) in pins.iter().zip(["percpu_array", "prog_array"]) {
        fs::remove_file(pin).expect("a pin can be removed");
        let (path, name) = (pin.display().to_string(), pin.file_name().unwrap().to_string_lossy());
        let sizes = ["key", "4", "value", "4", "entries", "2", "name", &*name];
        run("bpftool", &[&["map", "create", &path, "type", kind][..], &sizes].concat());
    }
    assert_ne!(pins.each_ref().map(id), before);
    let pod = Pod::start(&site, 1);
    let both = ["proxyip_ingress", "proxyip_egress"];
    eventually("the pod is served", || (programs_at(&pod.namespace, "eth0") == both).then_some(()));
    agent.wait_diagnostic("the pin of map PLACES stood for another one");
    assert_eq!(pins.each_ref().map(id), before);
    assert_guarded(&site);
    let stream = open_and_send(&site, &pod.dial(), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
    site.finish(&mut agent, &[]);
}

#[test]
fn a_program_that_comes_before_is_named() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    // One of the agent's own will do: it passes on what it finds at the wrong place.
    let pin = site.scratch.pin_path().with_file_name(format!("{}-other", site.scratch.name()));
    let link = run("bpftool", &["-j", "link", "show", "pinned", &link_of(&site, "egress")]);
    let link: serde_json::Value = serde_json::from_str(&link).expect("JSON");
    let id = link["prog_id"].to_string();
    run("bpftool", &["prog", "pin", "id", &id, &pin.display().to_string()]);
    let mut program = SchedClassifier::from_pin(&pin).expect("the program");
    fs::remove_file(&pin).expect("the pin");
    let other: FdLink = site.net.server.enter(|| {
        let first = TcAttachOptions::TcxOrder(LinkOrder::first());
        let link = program.attach_with_options("eth0", TcAttachType::Ingress, first);
        let link = program.take_link(link.expect("attached")).expect("the link");
        link.try_into().expect("a link with a descriptor")
    });
    let sentence =
        format!("program {id} (proxyip_egress) runs before the ingress program of interface eth0");
    eventually("it is named", || {
        agent.status().findings.concat().contains(&sentence).then_some(())
    });
    agent.wait_diagnostic(&sentence);
    assert_eq!(agent.api().request("GET", "/readyz").0, 200);
    // An agent that starts comes first.
    agent.process().signal(Signal::SIGTERM);
    agent.process().wait();
    agent.start_again();
    let findings = agent.status().findings.concat();
    assert!(!findings.contains("runs before"), "{findings}");
    assert_guarded(&site);
    drop(other);
    site.finish(&mut agent, &[]);
}

/// A link belongs to a device, not to a name.
#[test]
fn a_device_that_has_got_the_name_is_not_taken_for_the_other() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let restart = |agent: &mut Agent, renames: &[&str]| {
        agent.process().signal(Signal::SIGTERM);
        agent.process().wait();
        for rename in renames {
            site.net.server.ip(rename);
        }
        agent.start_again();
    };
    restart(&mut agent, &["link set eth0 name old0", "link add eth0 type veth peer name peer0"]);
    assert_left_alone(&site, &trusted_dial(80));
    restart(&mut agent, &["link del eth0", "link set old0 name eth0"]);
    assert_guarded(&site);
    agent.assert_healthy(&[]);
}

/// A process whose mount namespace others can enter.
fn mount_namespace(site: &Site) -> (Process, String) {
    let mut command = site.net.server.command("unshare");
    command.args(["--mount", "sleep", "600"]);
    let mut holder = Process::start("holder", site.scratch.directory(), &mut command);
    let own = fs::read_link("/proc/self/ns/mnt").expect("the own mount namespace");
    let path = format!("/proc/{}/ns/mnt", holder.pid());
    holder.ready("a mount namespace", |_| {
        fs::read_link(&path).ok().filter(|there| *there != own).map(|_| ())
    });
    (holder, format!("--mount={path}"))
}

#[test]
fn a_second_bpf_file_system_over_the_pins_is_found() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let (_holder, entrance) = mount_namespace(&site);
    let inside = |program: &str| {
        let mut command = site.net.server.command("nsenter");
        command.args([&entrance, program]);
        command
    };
    let agent_inside = || inside(&agent_binary().display().to_string());
    let mut agent = Agent::start_by(agent_inside(), &site, &Guard::ports(&[80]));
    let mounted = attempt(inside("mount").args(["-t", "bpf", "bpf", "/sys/fs/bpf"]));
    assert!(mounted.status.success(), "{mounted:?}");
    agent.wait_diagnostic("another file system has been mounted over the one with");
    assert_guarded(&site);
    agent.process().signal(Signal::SIGTERM);
    agent.process().wait();

    let config = agent.config().to_owned();
    let pins = site.scratch.pin_path().display().to_string();
    for (arguments, code) in [
        (&["run", "--config", &config][..], 1),
        (&["check", "--config", &config, "--socket", "/nonexistent"], 2),
        (&["detach", "--pin-path", &pins], 1),
    ] {
        let answer = Answer::from(attempt(agent_inside().args(arguments)));
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert_eq!(answer.code, code, "{arguments:?}: {said}");
        for part in ["eth0", "(proxyip_ingress)", "mounted over one another"] {
            assert!(said.contains(part), "{arguments:?}: {said}");
        }
    }
    assert_guarded(&site);
    let unmounted = attempt(inside("umount").arg("/sys/fs/bpf"));
    assert!(unmounted.status.success(), "{unmounted:?}");
    agent.start_again();
    assert_guarded(&site);
    site.finish(&mut agent, &[]);
}

/// Two BPF file systems over one another hide nothing where both agents pin in the upper one.
#[test]
fn another_agent_on_the_same_interface_is_named_by_its_pins() {
    let site = Site::without_captures();
    let (_holder, entrance) = mount_namespace(&site);
    let inside = |program: &str| {
        let mut command = site.net.server.command("nsenter");
        command.args([&entrance, program]);
        command
    };
    let mounted = attempt(inside("mount").args(["-t", "bpf", "bpf", "/sys/fs/bpf"]));
    assert!(mounted.status.success(), "{mounted:?}");
    let agent_inside = || inside(&agent_binary().display().to_string());
    let agent = Agent::start_by(agent_inside(), &site, &Guard::ports(&[80]));

    let pins = site.scratch.pin_path().display().to_string();
    let other = format!("{pins}-other");
    let text = fs::read_to_string(agent.config()).expect("the configuration");
    let text = text.replace(&pins, &other).replace("api.sock", "other/api.sock");
    let config = site.scratch.write("other.toml", &text);
    for (arguments, code) in [
        (&["run", "--config", &config][..], 1),
        (&["check", "--config", &config, "--socket", "/nonexistent"], 2),
    ] {
        let answer = Answer::from(attempt(agent_inside().args(arguments)));
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert_eq!(answer.code, code, "{arguments:?}: {said}");
        let advice = format!("pinned below {pins}: leave these interfaces");
        assert!(said.contains(&advice) && !said.contains("umount"), "{arguments:?}: {said}");
    }
    assert!(!site.scratch.path("other").exists(), "the socket's directory is left");
    // What is the other agent's own is nobody's fault.
    let detach = ["detach", "--pin-path", &other];
    let answer = Answer::from(attempt(agent_inside().args(detach)));
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(
        answer.stdout.contains(&format!("other pins on this host, below {pins}")),
        "{answer:?}"
    );
}
