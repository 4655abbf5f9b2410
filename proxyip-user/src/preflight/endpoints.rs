//! Where the flow log goes, and where the agent would answer.

use std::fs::{File, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use proxyip_api::check::Subject;

use super::check::Check;
use crate::config::{Config, Destination, FlowFormat};
use crate::flowlog::journal;

/// Whether an agent is `running` already: it has the address itself.
pub(crate) fn checks(config: &Config, running: bool) -> Vec<Check> {
    let mut checks = Vec::new();
    match &config.log.to {
        _ if config.log.flows == FlowFormat::Off => {}
        Destination::Stdout => {}
        Destination::File(path) => checks.push(Check::of(Subject::FlowLog, file(path))),
        Destination::Journald => checks.push(Check::of(Subject::FlowLog, journal(journal::SOCKET))),
    }
    if let Some(address) = config.api.http
        && !running
    {
        checks.push(Check::of(Subject::Http, http(address)));
    }
    checks
}

/// Whether the file can be appended to; it is not made.
fn file(path: &Path) -> Result<String> {
    let context = || format!("log.path: {} cannot be appended to", path.display());
    if path.exists() {
        OpenOptions::new().append(true).open(path).with_context(context)?;
    } else {
        let directory = path.parent().unwrap_or(Path::new("/"));
        let metadata = File::open(directory).and_then(|file| file.metadata());
        ensure!(metadata.with_context(context)?.is_dir(), "{}: no directory", context());
    }
    Ok(format!("lines go to {}", path.display()))
}

fn journal(socket: &str) -> Result<String> {
    ensure!(
        Path::new(socket).exists(),
        "log.to: there is no {socket}: run systemd-journald, or let the flow log go elsewhere"
    );
    Ok("lines go to the systemd journal".into())
}

fn http(address: SocketAddr) -> Result<String> {
    TcpListener::bind(address).with_context(|| format!("api.http: {address} cannot be bound"))?;
    Ok(format!("{address} is free"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_run_would_fail_with() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.log");
        assert!(file(&path).is_ok() && !path.exists());
        std::fs::write(&path, "").unwrap();
        assert!(file(&path).is_ok());
        assert!(file(&directory.path().join("none/flows.log")).is_err());
        assert!(file(&path.join("flows.log")).is_err());
        assert!(journal("/no/such/socket").is_err());
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert!(http(address).is_err());
        drop(taken);
        assert!(http(address).is_ok());
    }
}
