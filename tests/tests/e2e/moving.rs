//! Namespaces and interfaces that come and go while the agent runs.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proxyip_tests::servers::{EchoServer, PeerNames};
use proxyip_tests::{Agent, Guard, Pod, Site, address, eventually};

use crate::common::version_1;
use crate::common::{CLIENT, ask_names, assert_both, header_of_client};
use crate::common::{StopOnDrop, open_and_send, open_for, programs_at, socket_address};

/// A look a second, and a moment for what it does.
const SOON: Duration = Duration::from_secs(3);

/// The server's interface, and these.
fn guard(interfaces: &[(&str, &str)]) -> Guard {
    let guard = Guard::ports(&[80]).also_trusting(Pod::NETWORK);
    interfaces.iter().fold(guard, |guard, (name, netns)| {
        guard.interface_setting(&format!("[[interface]]\nname = {name:?}\nnetns = {netns:?}"))
    })
}

fn assert_shown(site: &Site, pod: &Pod) {
    let stream = open_and_send(site, &pod.dial(), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
}

fn ready(agent: &Agent) -> (u16, String) {
    let (status, json) = agent.api().request("GET", "/readyz");
    (status, json.to_string())
}

/// Waits for this at most so long.
fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    eventually(what, || is_so().then_some(()));
    assert!(begin.elapsed() < SOON, "{what}: only after {:?}", begin.elapsed());
}

/// Descriptors and threads.
fn held(agent: &mut Agent) -> (usize, usize) {
    let process = format!("/proc/{}", agent.process().pid());
    let count = |what: &str| fs::read_dir(format!("{process}/{what}")).expect("a process").count();
    (count("fd"), count("task"))
}

/// What an agent holds that does nothing: one that has just started still makes threads.
fn held_at_rest(agent: &mut Agent) -> (usize, usize) {
    let mut last = held(agent);
    eventually("the agent holds the same for half a second", || {
        let same = (0..5).all(|_| {
            thread::sleep(Duration::from_millis(100));
            let now = held(agent);
            std::mem::replace(&mut last, now) == now
        });
        same.then_some(last)
    })
}

#[test]
fn a_namespace_that_is_made_anew_is_served_and_the_old_one_is_gone() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let pod = Pod::start(&site, 1);
    let path = Pod::path(&site, 1);
    let mut agent = Agent::start(&site, &guard(&[("eth0", &path)]));
    assert_shown(&site, &pod);
    let before = held_at_rest(&mut agent);

    drop(pod);
    soon("the namespace is gone", || !Pod::has_link(&site, 1));
    soon("it is missed", || {
        let (status, said) = ready(&agent);
        status == 503 && said.contains(&format!("network namespace {path} is gone"))
    });
    let findings = agent.status().findings.concat();
    assert!(findings.contains("is gone: the agent serves it as soon as"), "{findings}");
    // The others go on.
    open_for(&site, 1);

    let pod = Pod::start(&site, 1);
    soon("its successor is served", || ready(&agent).0 == 200);
    assert_shown(&site, &pod);
    soon("descriptors and threads of the old one are gone", || {
        // Threads that answered questions end when they have been idle.
        let now = held(&mut agent);
        now.0 <= before.0 && now.1 <= before.1
    });
    site.finish(&mut agent, &[]);
}

/// A link belongs to a device, a name to whatever device has it.
#[test]
fn a_device_that_gets_the_name_is_served_and_the_other_is_left_alone() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let (pod, other) = (Pod::start(&site, 1), Pod::start(&site, 2));
    let path = Pod::path(&site, 1);
    let mut agent = Agent::start(&site, &guard(&[("eth0", &path)]));
    // The other pod's device comes in, under another name, and gets this one's.
    other.namespace.ip(&format!("link set eth0 netns {} name new0", pod.namespace.name()));
    pod.namespace.ip("link set eth0 name old0");
    pod.namespace.ip("link set new0 name eth0");
    let programs = |name| programs_at(&pod.namespace, name);
    soon("the device with the name has the programs", || {
        programs("eth0") == ["proxyip_ingress", "proxyip_egress"] && programs("old0").is_empty()
    });
    let stream = open_and_send(&site, &pod.dial(), &version_1());
    assert_header_arrives(&stream);
    assert_eq!(ready(&agent).0, 200);
    // The programs go with a device that leaves for another namespace.
    pod.namespace.ip("link del eth0");
    pod.namespace.ip("link set old0 name eth0");
    soon("it is attached to again", || programs("eth0").len() == 2);
    assert_shown(&site, &pod);
    agent.assert_healthy(&[]);
}

#[test]
fn interfaces_come_and_go_by_reload_and_no_connection_is_lost() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let pod = Pod::start(&site, 1);
    let path = Pod::path(&site, 1);
    let mut agent = Agent::start(&site, &guard(&[]));
    let (stop, opened) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                open_for(&site, opened.fetch_add(1, Ordering::Relaxed));
            }
        });
        let _stop = StopOnDrop(&stop);
        for _ in 0..3 {
            assert_header_arrives(&open_and_send(&site, &pod.dial(), &version_1()));
            let said = agent.reload(&guard(&[("eth0", &path)]));
            assert!(said.contains("is in force as it is now"), "{said}");
            assert_shown(&site, &pod);
            let interfaces = agent.status().interfaces;
            assert_eq!(interfaces.last().map(|one| one.netns.clone()), Some(path.clone()));

            let said = agent.reload(&guard(&[]));
            assert!(said.contains("is in force as it is now"), "{said}");
            assert_eq!(ready(&agent).0, 200);
        }
        // What cannot be attached to changes nothing.
        for (name, netns, sentence) in [
            ("eth7", "host", "interface eth7 does not exist in the agent's network namespace"),
            ("eth0", "/run/netns/nowhere", "/run/netns/nowhere cannot be opened"),
        ] {
            let said = agent.reload(&guard(&[("eth0", &path), (name, netns)]));
            assert!(said.contains("nothing was changed") && said.contains(sentence), "{said}");
            assert_header_arrives(&open_and_send(&site, &pod.dial(), &version_1()));
        }
    });
    assert!(opened.into_inner() > 100);
    site.finish(&mut agent, &[]);
}

/// The pins of a namespace's programs of sets have its name.
#[test]
fn a_namespace_keeps_the_name_by_which_it_is_served() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let pod = Pod::start(&site, 1);
    let path = Pod::path(&site, 1);
    let other = site.scratch.path("other").display().to_string();
    std::os::unix::fs::symlink(&path, &other).expect("a link");
    let mut agent = Agent::start(&site, &guard(&[("eth0", &path)]));
    for interfaces in [&[("eth0", &*other)][..], &[("eth0", &path), ("eth0", &other)]] {
        let said = agent.reload(&guard(interfaces));
        let sentence =
            format!("{other} is network namespace {path}, which is served by that name: keep");
        assert!(said.contains("nothing was changed") && said.contains(&sentence), "{said}");
        assert_shown(&site, &pod);
    }
    for interfaces in [&[][..], &[("eth0", &*other)]] {
        let said = agent.reload(&guard(interfaces));
        assert!(said.contains("is in force as it is now"), "{said}");
    }
    assert_shown(&site, &pod);
    site.finish(&mut agent, &[]);
}

/// Asserts that the application reads the header.
fn assert_header_arrives(stream: &std::net::TcpStream) {
    let (_, line) = PeerNames::read(stream);
    assert!(line.starts_with("\"PROXY TCP4 "), "{line}");
}
