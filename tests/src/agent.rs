//! proxyip itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::api::{Api, is_ready};
use crate::guard::Guard;
use crate::lines::Lines;
use crate::namespace::Namespace;
use crate::process::Process;
use crate::servers::Journald;
use crate::site::Site;

mod asking;

static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Makes this the program under test, in place of `PROXYIP_BIN`.
pub fn use_agent_binary(path: PathBuf) {
    BINARY.set(path).expect("the program under test is named once");
}

/// The program under test.
///
/// # Panics
/// When `PROXYIP_BIN` does not name it.
#[must_use]
pub fn agent_binary() -> PathBuf {
    let path = BINARY.get().cloned().or_else(|| std::env::var_os("PROXYIP_BIN").map(PathBuf::from));
    let path = path.expect("the environment variable PROXYIP_BIN must name the proxyip program");
    assert!(path.is_file(), "PROXYIP_BIN={} is no file", path.display());
    path
}

/// What a proxyip command answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its exit code.
    pub code: i32,
    /// Its standard output, trimmed.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("the command was not killed"),
            stdout: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// An agent with its own configuration, socket and pin path; on drop it is stopped and all that it
/// pinned is removed.
#[derive(Debug)]
pub struct Agent<'a> {
    site: &'a Site,
    namespace: &'a Namespace,
    process: Process,
    config: String,
}

impl<'a> Agent<'a> {
    /// Starts it on the server and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start(site: &'a Site, guard: &Guard) -> Self {
        Self::start_in(&site.net.server, site, guard)
    }

    /// Starts it in this namespace and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start_in(namespace: &'a Namespace, site: &'a Site, guard: &Guard) -> Self {
        let config = configure(site, guard);
        let process = launch(namespace, site, &config);
        let mut agent = Self { site, namespace, process, config };
        agent.wait_ready();
        agent
    }

    /// Starts it on the server, in the mount namespace of this journald, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start_beside(journald: &Journald, site: &'a Site, guard: &Guard) -> Self {
        let mut command = site.net.server.command("nsenter");
        command.arg(journald.entrance()).arg(agent_binary());
        Self::start_by(command, site, guard)
    }

    /// Starts it on the server, as systemd starts services that notify: its messages go to this socket.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start_notifying(manager: &Path, site: &'a Site, guard: &Guard) -> Self {
        let mut command = site.net.server.command(&agent_binary().display().to_string());
        command.env("NOTIFY_SOCKET", manager);
        Self::start_by(command, site, guard)
    }

    /// Starts it on the server by this command, which its arguments follow, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start_by(command: Command, site: &'a Site, guard: &Guard) -> Self {
        let config = configure(site, guard);
        let process = run(site, command, &config);
        let mut agent = Self { site, namespace: &site.net.server, process, config };
        agent.wait_ready();
        agent
    }

    /// Starts the agent again, with the same configuration, after it has ended.
    pub fn start_again(&mut self) {
        self.process = launch(self.namespace, self.site, &self.config);
        self.wait_ready();
    }

    /// Starts the agent again by this command, which its arguments follow, with the same configuration.
    pub fn start_again_by(&mut self, command: Command) {
        self.process = run(self.site, command, &self.config);
        self.wait_ready();
    }

    /// Changes the configuration file, which the agent reads when it is started again.
    pub fn configure(&mut self, guard: &Guard) {
        self.config = configure(self.site, guard);
    }

    /// Changes the configuration file and lets the running agent read it. Returns what it says of that, once it does.
    pub fn reload(&mut self, guard: &Guard) -> String {
        self.configure(guard);
        self.hang_up()
    }

    /// Sends SIGHUP. Returns what the agent says of it, once it does.
    pub fn hang_up(&mut self) -> String {
        let said = |process: &Process| {
            let text = process.stderr();
            let lines = text.lines().filter(|line| line.contains("SIGHUP: "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let before = said(&self.process).len();
        self.process.signal(Signal::SIGHUP);
        self.process.ready("an answer to SIGHUP", |process| said(process).into_iter().nth(before))
    }

    /// A connection to its socket.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::connect(&self.site.scratch.path("api.sock"))
    }

    /// A connection to the TCP address of its API.
    #[must_use]
    pub fn api_over_tcp(&self, address: &str) -> Api {
        Api::connect_tcp(self.namespace, address)
    }

    /// A connection to its lookup socket.
    #[must_use]
    pub fn lines(&self) -> Lines {
        Lines::connect(&self.site.scratch.path("lookup.sock"))
    }

    fn wait_ready(&mut self) {
        let socket = self.site.scratch.path("api.sock");
        self.process.ready("GET /readyz answered 200", |_| is_ready(&socket).then_some(()));
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it so that it cannot clean up.
    pub fn kill(&mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.wait();
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> &str {
        &self.config
    }

    /// Asserts that the agent runs and that it refused exactly what the test provoked.
    ///
    /// # Panics
    /// When that is not so.
    pub fn assert_healthy(&mut self, drops: &[(&str, u64)]) {
        assert!(self.process.is_alive(), "the agent has ended");
        let drops = drops.iter().map(|(label, n)| ((*label).to_owned(), *n)).collect();
        assert_eq!(self.numbers("drops"), drops, "drops by reason");
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let answer = self.ask(&["status", "--json"]);
            let status = serde_json::from_str::<Value>(&answer.stdout).unwrap_or_default();
            for section in ["counters", "drops", "left_to_kernel"] {
                let numbers = status[section].as_object().into_iter().flatten();
                let numbers: Vec<_> = numbers.filter(|(_, n)| **n != 0).collect();
                eprintln!("--- proxyip status, {section}: {numbers:?}");
            }
        }
        self.process.signal(Signal::SIGTERM);
        crate::wait::until(std::time::Duration::from_secs(5), || {
            (!self.process.is_alive()).then_some(())
        });
        let pin_path = self.site.scratch.pin_path().display().to_string();
        // Nobody needs the connections that are still there.
        let _ = self.ask(&["detach", "--drain", "0", "--pin-path", &pin_path]);
        let _ = fs::remove_dir_all(self.site.scratch.pin_path());
    }
}

fn configure(site: &Site, guard: &Guard) -> String {
    site.scratch.write("proxyip.toml", &guard.toml(&site.scratch))
}

fn launch(namespace: &Namespace, site: &Site, config: &str) -> Process {
    let mut command = namespace.command("prlimit");
    // As systemd and containers start services: more has to be asked for.
    command.arg("--nofile=1024:").arg(agent_binary());
    run(site, command, config)
}

/// `command` is the program, with or without others before it.
fn run(site: &Site, mut command: Command, config: &str) -> Process {
    command.args(["run", "--config", config]);
    Process::start("proxyip", site.scratch.directory(), &mut command)
}
