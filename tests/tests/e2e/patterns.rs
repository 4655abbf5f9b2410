//! Interfaces and namespaces that the configuration chooses by patterns.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, Pod, Site, address, eventually};

use crate::common::{CLIENT, ask_names, assert_both, header_of_client};
use crate::common::{open_and_send, programs_at, socket_address};

/// It takes less than a second, unless other tests keep the processors busy.
const SOON: Duration = Duration::from_secs(5);

/// The server's interface, and what these patterns find in the test's pods.
fn guard(site: &Site, names: &[&str]) -> Guard {
    let guard = Guard::ports(&[80]).also_trusting(Pod::NETWORK);
    let netns = format!("/run/netns/{}-pod*", site.scratch.name());
    names.iter().fold(guard, |guard, name| {
        guard.interface_setting(&format!("[[interface]]\nname = {name:?}\nnetns = {netns:?}"))
    })
}

pub(crate) fn assert_shown(site: &Site, pod: &Pod) {
    let stream = open_and_send(site, &pod.dial(), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
}

/// Waits for this at most so long.
pub(crate) fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    eventually(what, || is_so().then_some(()));
    assert!(begin.elapsed() < SOON, "{what}: only after {:?}", begin.elapsed());
}

/// The pods' interfaces that `status` has, as `pod/interface`.
fn served(agent: &Agent, site: &Site) -> Vec<String> {
    let prefix = format!("/run/netns/{}-", site.scratch.name());
    let interfaces = agent.status().interfaces.into_iter();
    let of_pod = |netns: &str| netns.strip_prefix(&prefix).map(str::to_owned);
    interfaces
        .filter_map(|one| Some(format!("{}/{}", of_pod(&one.netns)?, one.name)))
        .filter(|place| place.starts_with("pod"))
        .collect()
}

pub(crate) fn has_both(pod: &Pod, name: &str) -> bool {
    programs_at(&pod.namespace, name) == ["proxyip_ingress", "proxyip_egress"]
}

/// How many threads follow namespaces.
fn followers(agent: &mut Agent) -> usize {
    let threads = fs::read_dir(format!("/proc/{}/task", agent.process().pid())).expect("a process");
    let name = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("comm"));
    let names = threads.filter_map(|thread| name(thread.ok()?).ok());
    names.filter(|name| name.trim() == "namespaces").count()
}

fn descriptors(agent: &mut Agent) -> usize {
    fs::read_dir(format!("/proc/{}/fd", agent.process().pid())).expect("a process").count()
}

#[test]
fn what_a_pattern_finds_is_served_and_forgotten_when_it_goes() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &guard(&site, &["eth*"]));
    let status = agent.status();
    let findings = status.findings.concat();
    assert!(findings.contains("pod*\": matches nothing yet"), "{findings}");
    assert_eq!(status.patterns.iter().map(|one| one.interfaces).sum::<usize>(), 0);
    assert_eq!(agent.api().request("GET", "/readyz").0, 200);

    let mut before = None;
    for _ in 0..2 {
        let pods = [Pod::start(&site, 1), Pod::start(&site, 2)];
        soon("both pods are served", || served(&agent, &site) == ["pod1/eth0", "pod2/eth0"]);
        for pod in &pods {
            assert!(has_both(pod, "eth0") && programs_at(&pod.namespace, "lo").is_empty());
            assert_shown(&site, pod);
        }
        assert!(!agent.status().findings.concat().contains("matches nothing"));
        let [first, second] = pods;
        drop(first);
        soon("one pod is forgotten", || served(&agent, &site) == ["pod2/eth0"]);
        assert_eq!(agent.api().request("GET", "/readyz").0, 200);
        assert_shown(&site, &second);
        drop(second);
        soon("the other is forgotten", || served(&agent, &site).is_empty());
        eventually("the kernel has removed both", || {
            (1..=2).all(|number| !Pod::has_link(&site, number)).then_some(())
        });
        assert_eq!(followers(&mut agent), 1, "one follows all");
        eventually("their descriptors are gone", || {
            let now = descriptors(&mut agent);
            (now <= *before.get_or_insert(now)).then_some(())
        });
    }
    agent.assert_healthy(&[]);
}

#[test]
fn interfaces_that_come_go_and_get_other_names_are_followed() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let pod = Pod::start(&site, 1);
    let mut agent = Agent::start(&site, &guard(&site, &["eth*"]));
    assert_eq!(served(&agent, &site), ["pod1/eth0"]);
    assert_shown(&site, &pod);

    pod.namespace.ip("link set eth0 name eth7");
    soon("the new name is known", || served(&agent, &site) == ["pod1/eth7"]);
    assert!(has_both(&pod, "eth7"));
    assert_shown(&site, &pod);
    // Another device with the old name, whose pin the first one still has.
    pod.namespace.ip("link add eth0 type veth peer name peer0");
    soon("the new device is served", || served(&agent, &site).len() == 2 && has_both(&pod, "eth0"));
    assert!(has_both(&pod, "eth7"));
    pod.namespace.ip("link add br0 type bridge");
    pod.namespace.ip("link set eth0 master br0");
    soon("a member of a bridge is left", || programs_at(&pod.namespace, "eth0").is_empty());

    pod.namespace.ip("link set eth7 name net0");
    soon("a name that does not match is left", || served(&agent, &site).is_empty());
    assert!(programs_at(&pod.namespace, "net0").is_empty());
    pod.namespace.ip("link set net0 name eth0x");
    soon("it matches again", || served(&agent, &site) == ["pod1/eth0x"]);
    assert_shown(&site, &pod);
    agent.assert_healthy(&[]);
}

/// An agent that starts finds what the one before it served, and a reload changes only what differs.
#[test]
fn a_restart_and_a_reload_keep_what_patterns_found() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let pods = [Pod::start(&site, 1), Pod::start(&site, 2)];
    let mut agent = Agent::start(&site, &guard(&site, &["eth*"]));
    agent.kill();
    agent.start_again();
    assert_eq!(served(&agent, &site), ["pod1/eth0", "pod2/eth0"]);
    for names in [&["eth0"][..], &["e*", "*0"], &["eth*", "eth0"]] {
        let said = agent.reload(&guard(&site, names));
        assert!(said.contains("is in force as it is now"), "{said}");
        assert_eq!(served(&agent, &site), ["pod1/eth0", "pod2/eth0"], "{names:?}");
        for pod in &pods {
            assert!(has_both(pod, "eth0"), "{names:?}");
            assert_shown(&site, pod);
        }
    }
    agent.configure(&guard(&site, &["wlan*"]));
    let answer = agent.ask(&["reload"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let warning = "proxyip: warning: [[interface]] name \"wlan*\"";
    assert!(answer.stderr.contains(warning), "{answer:?}");
    let findings = agent.status().findings.concat();
    assert!(findings.contains("name \"wlan*\""), "{findings}");
    assert_eq!(served(&agent, &site), Vec::<String>::new());
    assert!(pods.iter().all(|pod| programs_at(&pod.namespace, "eth0").is_empty()));
    agent.assert_healthy(&[]);
}

/// A directory for links to the files of pods, and a guard of what is in there.
pub(crate) fn pods(site: &Site) -> (PathBuf, Guard) {
    let directory = site.scratch.path("pods");
    fs::create_dir(&directory).expect("a directory");
    let netns = directory.join("pod*");
    let interface =
        format!("[[interface]]\nname = \"eth*\"\nnetns = {:?}", netns.display().to_string());
    (directory, Guard::ports(&[80]).also_trusting(Pod::NETWORK).interface_setting(&interface))
}

pub(crate) fn link(site: &Site, number: u8, name: &Path) {
    symlink(Pod::path(site, number), name).expect("a link");
}

pub(crate) fn has_finding(agent: &Agent, words: &str) -> bool {
    agent.status().findings.concat().contains(words)
}

#[test]
fn a_file_without_its_namespace_is_said_though_others_have_theirs() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let pod = Pod::start(&site, 1);
    let (directory, guard) = pods(&site);
    link(&site, 1, &directory.join("pod1"));
    let mut agent = Agent::start(&site, &guard);
    assert_shown(&site, &pod);
    let words = "1 file matches, but no namespace is mounted on it";
    assert!(!has_finding(&agent, words));
    fs::write(directory.join("pod2"), "").expect("a file");
    eventually("it is said", || has_finding(&agent, words).then_some(()));
    let said = agent.ask(&["check", "--config", agent.config()]).stdout;
    assert!(said.contains(words), "{said}");
    fs::remove_file(directory.join("pod2")).expect("a file");
    soon("it is said no longer", || !has_finding(&agent, words));
    site.finish(&mut agent, &[]);
}

#[test]
fn a_namespace_with_two_names_is_served_by_the_other_when_one_goes() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let pod = Pod::start(&site, 1);
    let (directory, guard) = pods(&site);
    for name in ["pod1", "pod2"] {
        link(&site, 1, &directory.join(name));
    }
    let mut agent = Agent::start(&site, &guard);
    let netns = |agent: &Agent| {
        let served = agent.status().interfaces.into_iter().map(|one| one.netns);
        served.filter(|netns| netns.contains("/pods/")).collect::<Vec<_>>()
    };
    assert_eq!(netns(&agent), [directory.join("pod1").display().to_string()]);
    assert!(has_finding(&agent, "name it once"));
    // The agent tries the second one after 1, 3, 7 and 15 s.
    thread::sleep(Duration::from_secs(8));
    fs::remove_file(directory.join("pod1")).expect("a link");
    let other = directory.join("pod2").display().to_string();
    soon("it is served by the other name", || netns(&agent) == [&*other] && has_both(&pod, "eth0"));
    assert!(!has_finding(&agent, "name it once"));
    assert_shown(&site, &pod);
    site.finish(&mut agent, &[]);
}
