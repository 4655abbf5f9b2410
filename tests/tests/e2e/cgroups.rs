//! The root of the cgroup hierarchy: found from inside a cgroup namespace, or refused; and shared with others.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{
    Agent, Answer, Guard, Process, Site, address, agent_binary, attempt, run, turn,
};

use crate::common::{CLIENT, ask_names, assert_both, header_of_client, open_and_send};
use crate::common::{programs_at, socket_address, trusted_dial};

/// Where cgroup v2 is mounted.
pub(crate) fn hierarchy() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let mount = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = mount.into_iter().find(|fields| fields[2] == "cgroup2");
    mount.expect("cgroup v2 is mounted")[1].into()
}

/// A cgroup, removed on drop.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(site: &Site) -> Self {
        let path = hierarchy().join(site.scratch.name());
        fs::create_dir(&path).expect("a cgroup");
        Self(path)
    }

    /// A command that runs in it, and sees it as the whole hierarchy, as in a container.
    fn command(&self, site: &Site, more: &[&str]) -> Command {
        let mount = hierarchy().display().to_string();
        let inside = format!("umount -l {mount} && mount -t cgroup2 none {mount} && exec \"$@\"");
        let join = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.0.display());
        let mut command = site.net.server.command("sh");
        command.args(["-c", &join, "sh", "unshare", "--cgroup", "--mount"]).args(more);
        command.args(["sh", "-c", &inside, "sh"]).arg(agent_binary());
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn the_root_is_found_from_inside_a_cgroup_namespace() {
    let site = Site::without_captures();
    let cgroup = Cgroup::new(&site);
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let command = cgroup.command(&site, &[]);
    let mut agent = Agent::start_by(command, &site, &Guard::ports(&[80]));
    let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
    site.finish(&mut agent, &[]);
}

/// As in a container that must not open files by their handles.
#[test]
fn a_part_of_the_hierarchy_is_refused() {
    let site = Site::without_captures();
    let cgroup = Cgroup::new(&site);
    let config = site.scratch.write("proxyip.toml", &Guard::ports(&[80]).toml(&site.scratch));
    let confined = ["setpriv", "--bounding-set", "-dac_read_search"];
    for (verb, code) in [("run", 1), ("check", 2)] {
        let mut command = cgroup.command(&site, &confined);
        let answer = Answer::from(attempt(command.args([verb, "--config", &config])));
        let said = format!("{}{}", answer.stdout, answer.stderr);
        let sentence = format!("{} is not the root of the cgroup hierarchy", hierarchy().display());
        assert_eq!(answer.code, code, "{verb}: {said}");
        assert!(said.contains(&sentence), "{verb}: {said}");
    }
    assert!(!site.scratch.pin_path().exists(), "nothing is left behind");
}

/// A program at the root of the hierarchy that lets no other in; gone on drop.
struct Exclusive<'a> {
    site: &'a Site,
    pin: String,
}

impl<'a> Exclusive<'a> {
    const PLACE: &'static str = "cgroup_inet4_getpeername";

    /// An agent's own will do, once the agent is gone.
    fn attach(site: &'a Site, agent: &mut Agent) -> Self {
        let pin = format!("{}-other", site.scratch.pin_path().display());
        let link = site.scratch.pin_path().join("links/proxyip_getpeername4");
        let link = run("bpftool", &["-j", "link", "show", "pinned", &link.display().to_string()]);
        let link: serde_json::Value = serde_json::from_str(&link).expect("JSON");
        let program = link["prog_id"].to_string();
        run("bpftool", &["prog", "pin", "id", &program, &pin]);
        let exclusive = Self { site, pin };
        agent.process().signal(Signal::SIGTERM);
        agent.process().wait();
        let pins = site.scratch.pin_path().display().to_string();
        assert_eq!(agent.ask(&["detach", "--pin-path", &pins]).code, 0);
        exclusive.bpftool("attach");
        exclusive
    }

    fn bpftool(&self, verb: &str) {
        let root = hierarchy().display().to_string();
        run("bpftool", &["cgroup", verb, &root, Self::PLACE, "pinned", &self.pin]);
    }
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.bpftool("detach");
        }
        let _ = fs::remove_file(&self.pin);
        let _ = fs::remove_dir_all(self.site.scratch.pin_path());
    }
}

/// What others attach to the root of the hierarchy disturbs every agent of the host, and their agents this test.
#[test]
fn a_program_that_lets_no_other_in_is_named() {
    let _alone = turn::alone_with_the_host();
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let exclusive = Exclusive::attach(&site, &mut agent);
    let sentence =
        format!("is attached to the root of the cgroup hierarchy as {}", Exclusive::PLACE);
    let check = agent.ask(&["check", "--config", agent.config()]);
    assert_eq!(check.code, 2, "{check:?}");
    assert!(check.stdout.contains(&sentence), "{check:?}");
    assert!(check.stdout.contains("(proxyip_getpeer"), "the program's name: {check:?}");
    let mut command = site.net.server.command(&agent_binary().display().to_string());
    command.args(["run", "--config", agent.config()]);
    let mut second = Process::start("second", site.scratch.directory(), &mut command);
    assert_eq!(second.wait().code(), Some(1), "{}", second.stderr());
    assert!(second.stderr().contains(&sentence), "{}", second.stderr());
    assert!(!site.scratch.pin_path().exists(), "nothing is left behind");
    assert_eq!(programs_at(&site.net.server, "eth0"), [""; 0]);
    drop(exclusive);
    agent.start_again();
    agent.assert_healthy(&[]);
}

/// Descriptors run out at another step each time.
#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    let site = Site::without_captures();
    let config = site.scratch.write("proxyip.toml", &Guard::ports(&[80]).toml(&site.scratch));
    for limit in (16..=48).step_by(8) {
        let mut command = site.net.server.command("timeout");
        command.args(["20", "prlimit", &format!("--nofile={limit}:{limit}")]).arg(agent_binary());
        let answer = Answer::from(attempt(command.args(["run", "--config", &config])));
        assert_eq!(answer.code, 1, "{limit} descriptors: {answer:?}");
        assert!(!site.scratch.pin_path().exists(), "{limit} descriptors: {answer:?}");
        assert_eq!(
            programs_at(&site.net.server, "eth0"),
            [""; 0],
            "{limit} descriptors: {answer:?}"
        );
    }
}
