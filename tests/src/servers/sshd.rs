//! OpenSSH.

use std::fs;

use crate::command::run;
use crate::process::Process;
use crate::site::Site;
use crate::wait::eventually;

/// sshd on port 22 with newly made keys; root may log in with [`Sshd::identity`].
#[derive(Debug)]
pub struct Sshd {
    process: Process,
    /// File with the private key that may log in.
    pub identity: String,
}

impl Sshd {
    /// Starts it.
    ///
    /// # Panics
    /// When it does not listen.
    #[must_use]
    pub fn start(site: &Site) -> Self {
        // The directory that sshd's unprivileged part is confined to; it has to exist.
        fs::create_dir_all("/run/sshd").expect("/run/sshd");
        let path = |file: &str| site.scratch.path(file).display().to_string();
        let (host_key, identity) = (path("host_key"), path("identity"));
        for key in [&host_key, &identity] {
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", key]);
        }
        let config = format!(
            "HostKey {host_key}\nPidFile none\nLogLevel VERBOSE\nUsePAM no\nPermitRootLogin yes\n\
             StrictModes no\nAuthorizedKeysFile {identity}.pub\n"
        );
        let config = site.scratch.write("sshd_config", &config);
        // sshd insists on an absolute path. -e: log to standard error.
        let mut command = site.server_command("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f", &config]);
        let process = Process::start("sshd", site.scratch.directory(), &mut command);
        Self { process: process.listening(&site.net.server, 22), identity }
    }

    /// Waits for line number `number`, counted from 1. Only lines that start with `Connection from` count.
    #[must_use]
    pub fn connection_from(&self, number: usize) -> String {
        eventually(&format!("line {number} of sshd's `Connection from`"), || {
            let log = self.process.stderr();
            let lines = log.lines().filter(|line| line.starts_with("Connection from"));
            lines.map(str::to_owned).nth(number - 1)
        })
    }

    /// Runs a command on the server through `address`, as a user with the real `ssh` would.
    #[must_use]
    pub fn log_in(&self, site: &Site, address: &str, command: &str) -> String {
        let options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes \
                       -o LogLevel=ERROR -o IdentitiesOnly=yes";
        let identity = &self.identity;
        site.net.client.run(&format!("ssh {options} -i {identity} root@{address} {command}"))
    }
}
