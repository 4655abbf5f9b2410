//! `PostgreSQL`.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::command::{attempt, run};
use crate::process::Process;
use crate::site::Site;
use crate::wait::eventually;

const PORT: u16 = 5432;

/// A fresh cluster on port 5432 that logs connections.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
}

impl Postgres {
    /// Makes the cluster with this `pg_hba.conf` and starts it.
    ///
    /// # Panics
    /// When `initdb` fails or the server does not listen.
    #[must_use]
    pub fn start(site: &Site, access_rules: &str) -> Self {
        let programs = programs();
        // The server refuses to run as root.
        let user = |file: &str| {
            run("id", &[file, "postgres"]).trim().parse::<u32>().expect("a numeric id")
        };
        let directory = site.scratch.path("postgres");
        fs::create_dir(&directory).expect("a directory for PostgreSQL");
        chown(&directory, Some(user("-u")), Some(user("-g"))).expect("chown");
        let as_postgres = ["--reuid=postgres", "--regid=postgres", "--clear-groups"];
        let data = directory.join("data");
        let mut initdb = Command::new("setpriv");
        initdb.args(as_postgres).arg(programs.join("initdb")).arg("--no-sync").arg(&data);
        let output = attempt(initdb.args(["--auth=reject", "--no-locale", "--encoding=UTF8"]));
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        fs::write(data.join("pg_hba.conf"), access_rules).expect("pg_hba.conf");

        let mut command = site.net.server.command("setpriv");
        command.args(as_postgres).arg(programs.join("postgres")).arg("-D").arg(&data);
        for setting in ["listen_addresses=*", "log_connections=on", "fsync=off"] {
            command.args(["-c", setting]);
        }
        command.args(["-c", &format!("unix_socket_directories={}", directory.display())]);
        let process = Process::start("postgres", site.scratch.directory(), &mut command);
        // SIGTERM would wait for the clients to leave.
        let process = process.stopped_by(Signal::SIGINT);
        let mut process = process.listening(&site.net.server, PORT);
        process.ready("accepts connections", |process| {
            process.stderr().contains("ready to accept connections").then_some(())
        });
        Self { process }
    }

    /// What `psql` on the client answers for `query`, connecting to `address`.
    ///
    /// # Errors
    /// Its standard error when it fails.
    pub fn query(&self, site: &Site, address: &str, query: &str) -> Result<String, String> {
        let target = format!("host={address} port={PORT} user=postgres dbname=postgres");
        let mut command = site.net.client.command("psql");
        let output = attempt(command.args(["-X", "-A", "-t", "-c", query, &target]));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Waits until a line of the server's log contains `text`.
    #[must_use]
    pub fn log_line(&self, text: &str) -> String {
        eventually(&format!("`{text}` in PostgreSQL's log"), || {
            let log = self.process.stderr();
            log.lines().find(|line| line.contains(text)).map(str::to_owned)
        })
    }
}

/// Where Debian keeps the programs of the installed version.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is not installed");
    let version = versions.flatten().map(|entry| entry.path().join("bin")).max();
    version.expect("no version of PostgreSQL is installed")
}
