//! The server with its agent, and the load balancer.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use proxyip_tests::{
    Answer, Guard, HandOff, Namespace, Process, Site, agent_binary, attempt, eventually,
};

use crate::load::PORTS;

/// Everything that troubles change.
pub(crate) struct Scene<'a> {
    pub(crate) site: &'a Site,
    /// Has a mount namespace, in which a second BPF file system disturbs nobody else.
    holder: Process,
    agent: Option<Process>,
    config: String,
    _balancer: Process,
}

/// The configuration that is in force most of the time.
fn guard() -> Guard {
    let translated = Guard::ports(&PORTS[2..]).named("translated").hand_off(HandOff::Translate);
    Guard::ports(&PORTS[..2]).hand_off(HandOff::Auto).with(&translated)
}

/// Another one: lists of clients that never come, and one more listener.
fn other_guard() -> Guard {
    let denied: Vec<_> = (0..=255).map(|number| format!("192.0.{number}.0/24")).collect();
    guard().deny(&denied.join(",")).with(&Guard::ports(&[443]).named("guest"))
}

impl<'a> Scene<'a> {
    pub(crate) fn new(site: &'a Site) -> Self {
        let mut command = site.net.server.command("unshare");
        command.args(["--mount", "sleep", "infinity"]);
        let mut holder = Process::start("holder", site.scratch.directory(), &mut command);
        let own = fs::read_link("/proc/self/ns/mnt").expect("the own mount namespace");
        let path = format!("/proc/{}/ns/mnt", holder.pid());
        holder.ready("a mount namespace", |_| {
            fs::read_link(&path).ok().filter(|there| *there != own).map(|_| ())
        });
        let config = site.scratch.write("proxyip.toml", &guard().toml(&site.scratch));
        let balancer = start_balancer(site);
        Self { site, holder, agent: None, config, _balancer: balancer }
    }

    pub(crate) fn server(&self) -> &'a Namespace {
        &self.site.net.server
    }

    /// A command in the agent's namespaces.
    fn inside(&self, program: &str) -> Command {
        let mut command = self.server().command("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.pid())).arg(program);
        command
    }

    /// Runs a command line on the server, in the agent's mount namespace. What a trouble has removed may make it fail.
    pub(crate) fn run(&self, line: &str) -> bool {
        let mut words = line.split_whitespace();
        let mut command = self.inside(words.next().expect("a program"));
        attempt(command.args(words)).status.success()
    }

    pub(crate) fn start_agent(&mut self) {
        let mut command = self.inside("prlimit");
        command.arg("--nofile=1024:").arg(agent_binary()).args(["run", "--config", &self.config]);
        let directory = self.site.scratch.directory();
        self.agent = Some(Process::start("proxyip", directory, &mut command));
    }

    /// Ends the agent, if it has not ended yet. What is attached stays.
    pub(crate) fn end_agent(&mut self, signal: Signal) {
        let Some(mut agent) = self.agent.take() else { return };
        agent.signal(signal);
        let code = agent.wait().code();
        let expected = (signal == Signal::SIGTERM).then_some(0);
        assert_eq!(code, expected, "the agent's exit code after {signal}");
    }

    pub(crate) fn signal_agent(&self, signal: Signal) {
        if let Some(agent) = &self.agent {
            agent.signal(signal);
        }
    }

    /// Whether it runs as it should.
    pub(crate) fn agent_lives(&mut self) -> bool {
        self.agent.as_mut().is_some_and(Process::is_alive)
    }

    /// Has the agent read the other configuration, or the usual one. Returns whether it says that it is in force.
    pub(crate) fn reload(&self, which: Configuration) -> bool {
        let guard = match which {
            Configuration::Usual => guard(),
            Configuration::Other => other_guard(),
        };
        self.site.scratch.write("proxyip.toml", &guard.toml(&self.site.scratch));
        if self.agent.is_none() {
            // It is read when the agent starts.
            return true;
        }
        let answer = self.ask(&["reload"]);
        answer.code == 0
    }

    fn ask(&self, arguments: &[&str]) -> Answer {
        let mut command = self.inside(&agent_binary().display().to_string());
        command.args(arguments).env("PROXYIP_SOCKET", self.site.scratch.path("api.sock"));
        attempt(&mut command).into()
    }

    /// The pins of all links, or of everything.
    pub(crate) fn pins(&self, of: Pins) -> Vec<PathBuf> {
        let path = self.site.scratch.pin_path();
        let directories = match of {
            Pins::Links => vec![path.join("links")],
            Pins::All => entries(&path),
        };
        directories.iter().flat_map(entries).collect()
    }

    /// Detaches everything.
    pub(crate) fn detach(&mut self) {
        self.end_agent(Signal::SIGTERM);
        let pins = self.site.scratch.pin_path().display().to_string();
        let answer = self.ask(&["detach", "--drain", "0", "--pin-path", &pins]);
        assert_eq!(answer.code, 0, "proxyip detach: {}", answer.stderr);
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        if self.agent.take().is_some() {
            let pins = self.site.scratch.pin_path().display().to_string();
            let _ = self.ask(&["detach", "--drain", "0", "--pin-path", &pins]);
        }
    }
}

/// What the file says.
#[derive(Clone, Copy)]
pub(crate) enum Configuration {
    Usual,
    Other,
}

/// Which pins.
#[derive(Clone, Copy)]
pub(crate) enum Pins {
    Links,
    All,
}

fn entries(directory: &PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    // The seed decides which of them is taken.
    paths.sort();
    paths
}

/// `HAProxy` in front of each port: version 1 over IPv6 for the second, version 2 over IPv4 for the others.
fn start_balancer(site: &Site) -> Process {
    let beginning = "global\n    maxconn 4000\ndefaults\n    mode tcp\n    retries 2\n    \
                     timeout connect 4s\n    timeout client 1m\n    timeout server 1m\n";
    let servers = [
        (PORTS[0], "10.77.1.1:80 send-proxy-v2"),
        (PORTS[1], "fd00:77:1::1:81 send-proxy"),
        (PORTS[2], "10.77.1.1:82 send-proxy-v2"),
    ];
    let fronts = servers.map(|(port, server)| {
        format!(
            "listen front{port}\n    bind :{port}\n    bind :::{port} v6only\n    server s {server}\n"
        )
    });
    let config = [beginning, &fronts.concat()].concat();
    let config = site.scratch.write("haproxy.cfg", &config);
    let mut command = site.net.balancer.command("haproxy");
    command.args(["-db", "-f", &config]);
    let process = Process::start("haproxy", site.scratch.directory(), &mut command).quietly();
    let process = process.listening(&site.net.balancer, PORTS[0]);
    eventually("the last of HAProxy's ports", || site.net.balancer.listens(PORTS[2]).then_some(()));
    process
}
