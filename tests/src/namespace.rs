//! A network namespace.

use std::fs::{self, File};
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::command::{attempt, run};
use crate::scratch::remove_namespace;

/// A network namespace with its loopback interface up; deleted on drop with all processes in it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Creates it.
    ///
    /// # Panics
    /// When that is not permitted.
    #[must_use]
    pub fn new(name: String) -> Self {
        run("ip", &["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// Its name, as in `/run/netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside. `ip netns exec` would remount `/sys` and hide the BPF file
    /// system; nsenter leaves it in place.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(program);
        command
    }

    /// Runs a command line inside and returns its standard output. Arguments are split at spaces.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, command_line: &str) -> String {
        let mut words = command_line.split_whitespace();
        let mut command = self.command(words.next().expect("a program"));
        let output = attempt(command.args(words));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{command_line}` in {}: {}", self.name, error.trim());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `ip` with these arguments, inside.
    pub fn ip(&self, arguments: &str) -> String {
        let words = ["-n", &self.name].into_iter().chain(arguments.split_whitespace());
        run("ip", &words.collect::<Vec<_>>())
    }

    /// Sets a key below `net`, for example `ipv4.tcp_sack`.
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/net/{}", key.replace('.', "/"));
        self.enter(|| {
            fs::write(&path, value).unwrap_or_else(|error| panic!("{path} = {value}: {error}"));
        });
    }

    /// Calls `work` on a new thread inside the namespace: sockets that it opens belong there.
    ///
    /// # Panics
    /// When the namespace cannot be entered, or with the panic of `work`.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name);
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let file = File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
                setns(file, CloneFlags::CLONE_NEWNET).expect("cannot enter a network namespace");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A counter of `/proc/net/snmp` or `/proc/net/netstat`, for example `("Tcp", "InCsumErrors")`.
    ///
    /// # Panics
    /// When the kernel does not have the counter.
    #[must_use]
    pub fn statistic(&self, table: &str, counter: &str) -> u64 {
        let text = self.enter(|| {
            ["snmp", "netstat"]
                .map(|file| fs::read_to_string(format!("/proc/thread-self/net/{file}")))
                .map(|text| text.expect("cannot read network statistics"))
                .join("")
        });
        // Two lines for each table: names, then values.
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(table)?.strip_prefix(':'));
        let names = lines.next().unwrap_or_else(|| panic!("no statistics table {table}"));
        let values = lines.next().expect("names are followed by values");
        let mut columns = names.split_whitespace().zip(values.split_whitespace());
        let value = columns.find(|(name, _)| *name == counter).map(|(_, value)| value.parse());
        value.unwrap_or_else(|| panic!("no counter {table} {counter}")).expect("a number")
    }

    /// Whether a TCP socket inside listens on `port`.
    #[must_use]
    pub fn listens(&self, port: u16) -> bool {
        let suffix = format!(":{port:04X}");
        self.enter(|| {
            ["tcp", "tcp6"].iter().any(|file| {
                let text = fs::read_to_string(format!("/proc/thread-self/net/{file}"));
                text.expect("cannot read the socket table").lines().any(|line| {
                    let columns: Vec<_> = line.split_whitespace().collect();
                    columns.len() > 3 && columns[1].ends_with(&suffix) && columns[3] == "0A"
                })
            })
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove_namespace(&self.name);
    }
}
