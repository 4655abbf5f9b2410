//! Where the flow log goes, and where the agent would answer.

use std::fs::{File, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use proxyip_api::check::Subject;

use super::check::Check;
use crate::config::{Config, Destination, FlowFormat};
use crate::flowlog::journal;

/// The TCP address that a running agent has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// This one, or none.
    At(Option<SocketAddr>),
    /// One runs that does not say.
    Unknown,
}

impl Held {
    /// Whether another socket can be bound to this address if it is free. The agent moves to an address that overlaps
    /// with its own by sharing it, which this process cannot.
    fn leaves_free(self, address: SocketAddr) -> bool {
        let overlaps = |held: SocketAddr| {
            let is_wide = held.ip().is_unspecified() || address.ip().is_unspecified();
            held == address || is_wide && held.port() == address.port()
        };
        match self {
            Self::At(held) => !held.is_some_and(overlaps),
            Self::Unknown => false,
        }
    }
}

/// `held` is what the agent has itself.
pub(crate) fn checks(config: &Config, held: Held) -> Vec<Check> {
    let mut checks = Vec::new();
    match &config.log.to {
        _ if config.log.flows == FlowFormat::Off => {}
        Destination::Stdout => {}
        Destination::File(path) => checks.push(Check::of(Subject::FlowLog, file(path))),
        Destination::Journald => checks.push(Check::of(Subject::FlowLog, journal(journal::SOCKET))),
    }
    if let Some(address) = config.api.http
        && held.leaves_free(address)
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
    use crate::preflight::check::State;

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

    #[test]
    fn only_an_address_that_the_agent_does_not_have_is_tried() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let here = address("127.0.0.1:9811");
        for (held, asked, is_tried) in [
            (Held::At(None), here, true),
            (Held::Unknown, here, false),
            (Held::At(Some(here)), here, false),
            (Held::At(Some(here)), address("127.0.0.1:9812"), true),
            (Held::At(Some(here)), address("127.0.0.2:9811"), true),
            (Held::At(Some(here)), address("0.0.0.0:9811"), false),
            (Held::At(Some(address("[::]:9811"))), here, false),
            (Held::At(Some(address("[::]:9811"))), address("127.0.0.1:80"), true),
        ] {
            assert_eq!(held.leaves_free(asked), is_tried, "{held:?} {asked}");
        }
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let text = format!(
            "[[listener]]\nports=[443]\ntrusted=['10.0.0.0/8']\n[api]\nhttp='{}'\n",
            taken.local_addr().unwrap()
        );
        let config = Config::from_toml(&text).unwrap();
        let [check] = &checks(&config, Held::At(Some(here)))[..] else { panic!("a check") };
        assert_eq!((check.check, check.state), (Subject::Http, State::Problem), "{check:?}");
    }
}
