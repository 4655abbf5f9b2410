//! Namespaces that live on while the agent cannot see them: a mount is missing.

use std::fs;
use std::path::{Path, PathBuf};

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, Pod, Process, Site, address, eventually};

use crate::common::programs_at;
use crate::layouts::version;
use crate::patterns::{assert_shown, has_both, has_finding, link, pods, soon};

/// What `status` says of namespaces that the agent served.
const HIDDEN: &str = "network namespaces whose files cannot be seen any more keep their programs";

/// Two pods, and links to their files in a directory that a guard names.
fn two_pods(site: &Site) -> ([Pod; 2], PathBuf, Guard) {
    let all = [Pod::start(site, 1), Pod::start(site, 2)];
    let (directory, guard) = pods(site);
    for number in [1, 2] {
        link(site, number, &directory.join(format!("pod{number}")));
    }
    (all, directory, guard)
}

fn away(directory: &Path) -> PathBuf {
    directory.with_file_name("away")
}

fn readiness(agent: &Agent) -> u16 {
    agent.api().request("GET", "/readyz").0
}

/// An agent that starts without a mount sees no namespace. What guards there goes on guarding.
#[test]
fn an_agent_that_sees_no_namespaces_leaves_the_programs_there() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let (all, directory, guard) = two_pods(&site);
    let mut agent = Agent::start(&site, &guard);
    for pod in &all {
        assert_shown(&site, pod);
    }
    agent.kill();
    let away = away(&directory);
    fs::rename(&directory, &away).expect("a directory");
    agent.start_again();
    let words = "programs of an agent before this one go on guarding";
    soon("it is said", || has_finding(&agent, words));
    assert!(has_finding(&agent, "there is no directory"));
    for pod in &all {
        assert!(has_both(pod, "eth0"));
        assert_shown(&site, pod);
    }
    // What has left by the time when the directory is there is left alone no longer.
    fs::remove_file(away.join("pod2")).expect("a link");
    fs::rename(&away, &directory).expect("a directory");
    soon("the second one is left", || programs_at(&all[1].namespace, "eth0").is_empty());
    soon("it is said no longer", || !has_finding(&agent, words));
    assert!(has_both(&all[0], "eth0"));
    assert_shown(&site, &all[0]);
    site.finish(&mut agent, &[]);
}

/// The same while it runs: the directory is unmounted, or another one is mounted over it.
#[test]
fn namespaces_that_cannot_be_seen_any_more_are_guarded_while_they_live() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let ([first, second], directory, guard) = two_pods(&site);
    let mut agent = Agent::start(&site, &guard);
    assert_eq!(readiness(&agent), 200);
    fs::rename(&directory, away(&directory)).expect("a directory");
    for count in ["2, the first is", "1, the first is"] {
        soon("it is said", || has_finding(&agent, HIDDEN) && has_finding(&agent, count));
        assert_eq!(readiness(&agent), 503);
        assert!(has_both(&first, "eth0"));
        assert_shown(&site, &first);
        if count.starts_with('2') {
            assert_shown(&site, &second);
            // An empty directory, as under a mount that has gone.
            fs::create_dir(&directory).expect("a directory");
            agent.hang_up();
            assert!(has_both(&second, "eth0"));
            site.net.balancer.ip("link delete pod2");
        }
    }
    fs::remove_dir(&directory).expect("a directory");
    fs::rename(away(&directory), &directory).expect("a directory");
    soon("both are seen", || !has_finding(&agent, HIDDEN));
    soon("the agent is ready", || readiness(&agent) == 200);
    assert_shown(&site, &first);
    // What is removed from the directory is left, though it lives.
    fs::remove_file(directory.join("pod1")).expect("a link");
    soon("the first one is left", || programs_at(&first.namespace, "eth0").is_empty());
    assert!(!has_finding(&agent, HIDDEN));
    site.finish(&mut agent, &[]);
}

/// A file that nothing is mounted on any more.
#[test]
fn a_namespace_that_was_unmounted_is_guarded_while_it_lives() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let ([first, second], directory, guard) = two_pods(&site);
    let mut agent = Agent::start(&site, &guard);
    let file = site.scratch.path("file");
    fs::write(&file, "").expect("a file");
    fs::rename(&file, directory.join("pod1")).expect("a file");
    soon("it is said", || has_finding(&agent, HIDDEN));
    for pod in [&first, &second] {
        assert!(has_both(pod, "eth0"));
        assert_shown(&site, pod);
    }
    fs::remove_file(directory.join("pod1")).expect("a file");
    soon("it is left", || programs_at(&first.namespace, "eth0").is_empty());
    assert!(!has_finding(&agent, HIDDEN));
    site.finish(&mut agent, &[]);
}

/// Programs of another layout would have other tables than the programs on sockets.
#[test]
fn another_version_takes_over_only_when_it_sees_all() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let (all, directory, guard) = two_pods(&site);
    let mut agent = Agent::start_by(version(&site, 77), &site, &guard);
    agent.kill();
    fs::rename(&directory, away(&directory)).expect("a directory");
    let mut command = version(&site, 78);
    command.args(["run", "--config", agent.config()]);
    let mut refused = Process::start("refused", site.scratch.directory(), &mut command);
    eventually("the end", || (!refused.is_alive()).then_some(()));
    let said = refused.stderr();
    let words = "another layout guard in network namespaces that cannot be seen now (4)";
    assert!(said.contains(words), "{said}");
    for pod in &all {
        assert!(has_both(pod, "eth0"));
        assert_shown(&site, pod);
    }
    fs::rename(away(&directory), &directory).expect("a directory");
    agent.start_again_by(version(&site, 78));
    for pod in &all {
        assert_shown(&site, pod);
    }
    site.finish(&mut agent, &[]);
}
