//! systemd's journal daemon.

use std::process::Command;

use serde_json::Value;

use crate::command::attempt;
use crate::process::Process;
use crate::site::Site;

/// journald in a separate mount namespace: it touches only its own journal and log files, and not the host's.
#[derive(Debug)]
pub struct Journald {
    process: Process,
}

const SCRIPT: &str = "
    mkdir -p /run/systemd /run/log /var/log
    for directory in /run/systemd /run/log /var/log; do mount -t tmpfs tmpfs $directory; done
    mkdir -p /run/systemd/journal
    echo 0123456789abcdef0123456789abcdef > /run/log/machine-id
    touch /etc/machine-id
    mount --bind /run/log/machine-id /etc/machine-id
    exec /lib/systemd/systemd-journald
";

impl Journald {
    /// Starts it, and waits until it takes entries.
    #[must_use]
    pub fn start(site: &Site) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", SCRIPT]);
        let process = Process::start("journald", site.scratch.directory(), &mut command);
        let mut journald = Self { process };
        let socket = format!("/proc/{}/root/run/systemd/journal/socket", journald.process.pid());
        let is_there = |_: &Process| std::path::Path::new(&socket).exists().then_some(());
        journald.process.ready("a socket of journald", is_there);
        journald
    }

    /// The arguments with which `nsenter` runs a program beside it.
    pub(crate) fn entrance(&self) -> String {
        format!("--mount=/proc/{}/ns/mnt", self.process.pid())
    }

    /// Moves its socket away, as if it were not running.
    pub fn pause_listening(&self) {
        self.rename("socket", "away");
    }

    /// Moves it back.
    pub fn listen_again(&self) {
        self.rename("away", "socket");
    }

    fn rename(&self, from: &str, to: &str) {
        let path = |name| format!("/proc/{}/root/run/systemd/journal/{name}", self.process.pid());
        std::fs::rename(path(from), path(to)).expect("the socket can be renamed");
    }

    /// The journal's entries with this identifier.
    ///
    /// # Panics
    /// When they cannot be read.
    #[must_use]
    pub fn entries(&self, identifier: &str) -> Vec<Value> {
        let mut command = Command::new("nsenter");
        command.args([&self.entrance(), "journalctl", "--directory=/run/log/journal"]);
        command.args(["--output=json", &format!("--identifier={identifier}")]);
        let output = attempt(&mut command);
        let text = String::from_utf8(output.stdout).expect("the journal is JSON");
        text.lines().map(|line| serde_json::from_str(line).expect("an entry is JSON")).collect()
    }
}
