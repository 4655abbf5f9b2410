//! `proxyip support`

mod mask;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use self::mask::masked;
use super::check::{self, Labelled};
use super::output::print;
use super::reading::ask;
use crate::client;
use crate::config::{Config, ConfigError, DEFAULT_PIN_PATH, DEFAULT_SOCKET};
use crate::json;
use crate::lifecycle::detach::elsewhere;
use crate::preflight::inventory::inventory;

/// Lines of the log, and flows.
const LINES: &str = "500";
const FLOWS: u16 = 1000;

/// Collect what somebody needs who looks for a fault, as one JSON document.
///
/// It has the agent's status and metrics, the findings of `proxyip check`, and the configuration file. It has the last lines
/// of the service's log in the systemd journal. It also has the kernel, its BPF programs, maps and links, the pins, and
/// the sysctls and interfaces of each namespace. It works without a running agent too. A part that cannot be read has
/// an error in its place.
///
/// The configuration file is included as it is: it holds no secrets, but networks in `allow` and `deny`. Addresses of
/// clients are left out otherwise, and are hidden in the log and in findings, unless --flows asks for them.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// File to write, readable by its owner alone; standard output, if absent.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Configuration file (TOML) of the agent.
    #[arg(long, value_name = "FILE", default_value = "/etc/proxyip.toml")]
    config: PathBuf,
    /// Unix socket of the agent, instead of the configuration's.
    #[arg(long, value_name = "PATH", env = "PROXYIP_SOCKET")]
    socket: Option<PathBuf>,
    /// Include live flows, and addresses in the log and in findings.
    #[arg(long)]
    flows: bool,
}

/// Whether addresses of clients may be in the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addresses {
    Shown,
    Hidden,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let bundle = bundle(arguments);
    for note in bundle["notes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        writeln!(io::stderr(), "proxyip: {note}").ok();
    }
    let bundle = json::to_vec(&bundle)?;
    let bundle = [&bundle[..], b"\n"].concat();
    let Some(path) = &arguments.output else { return print(bundle) };
    let mut file = OpenOptions::new();
    let file = file.write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(&bundle));
    written.with_context(|| format!("{} cannot be written", path.display()))
}

fn bundle(arguments: &Arguments) -> Value {
    let addresses = if arguments.flows { Addresses::Shown } else { Addresses::Hidden };
    let path = &arguments.config;
    let config = Config::from_file(path);
    let notes = notes(arguments, config.as_ref().err());
    let config = config.ok();
    let socket = arguments.socket.clone();
    let socket = socket.or_else(|| config.as_ref().map(|config| config.api.socket.clone()));
    let socket = socket.unwrap_or_else(|| DEFAULT_SOCKET.into());
    let pin_path =
        config.as_ref().map_or(DEFAULT_PIN_PATH.as_ref(), |config| &*config.agent.pin_path);
    let file = path.exists().then_some(&**path);
    json!({
        "proxyip": env!("CARGO_PKG_VERSION"),
        "time": format!("{:.3}", Timestamp::now()),
        "notes": notes,
        "configuration": configuration(path),
        "check": hide(checked(check::report(file, Some(&socket)).labelled()), addresses),
        "agent": agent(&socket, addresses),
        "host": inventory(config.as_ref(), pin_path),
        "log": hide(log(), addresses),
    })
}

/// What whoever made the bundle should know: that no configuration was read, and what was looked at instead.
fn notes(arguments: &Arguments, error: Option<&ConfigError>) -> Vec<String> {
    let Some(error) = error else { return Vec::new() };
    let reason = error.to_string().replace('\n', "; ");
    let socket = match &arguments.socket {
        Some(_) => String::new(),
        None => format!("the socket {DEFAULT_SOCKET} and "),
    };
    let pins = Path::new(DEFAULT_PIN_PATH);
    let without = format!(
        "no configuration was read ({reason}), so the bundle is about {socket}pins below {}: name the agent's file with \
         --config",
        pins.display()
    );
    std::iter::once(without).chain(elsewhere(pins)).collect()
}

fn checked(report: Labelled) -> Value {
    serde_json::to_value(report).unwrap_or_else(|error| problem(&error))
}

fn configuration(path: &Path) -> Value {
    match fs::read_to_string(path) {
        Ok(text) => json!({ "path": path.display().to_string(), "text": text }),
        Err(error) => problem(&format_args!("{}: {error}", path.display())),
    }
}

/// What the agent says; an error for each part that it does not answer.
fn agent(socket: &Path, addresses: Addresses) -> Value {
    let get = |path: &str| {
        let answer = ask(async { Ok(client::get::<Value>(socket, path).await?.0) });
        answer.unwrap_or_else(|error| problem(&format_args!("{error:#}")))
    };
    let metrics = ask(async { Ok(client::text(socket, "/metrics").await?) });
    let mut agent = json!({
        "ready": get("/readyz"),
        "status": hide(get("/v1/status"), addresses),
        "metrics": metrics.map_or_else(|error| problem(&format_args!("{error:#}")), Value::String),
    });
    if addresses == Addresses::Shown {
        agent["flows"] = get(&format!("/v1/flows?limit={FLOWS}"));
    }
    agent
}

/// The last lines that systemd has of the service.
fn log() -> Value {
    let mut journal = Command::new("journalctl");
    journal.args(["--unit", "proxyip", "--lines", LINES, "--output", "short-iso", "--no-pager"]);
    match journal.output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).lines().collect()
        }
        Ok(output) => problem(&String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => problem(&format_args!("journalctl: {error}")),
    }
}

fn problem(error: &dyn std::fmt::Display) -> Value {
    json!({ "error": error.to_string() })
}

/// Hides addresses in sentences. Networks that the agent trusts stay: they are the load balancer's.
fn hide(value: Value, addresses: Addresses) -> Value {
    match value {
        value if addresses == Addresses::Shown => value,
        Value::String(text) => Value::String(masked(&text)),
        Value::Array(all) => all.into_iter().map(|one| hide(one, addresses)).collect(),
        Value::Object(members) => {
            let hidden = |(name, value): (String, Value)| {
                let value = if name == "trusted" { value } else { hide(value, addresses) };
                (name, value)
            };
            Value::Object(members.into_iter().map(hidden).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Verb};

    fn bundle_of(line: &str) -> Value {
        let cli = Cli::try_parse_from(["proxyip", "support"].into_iter().chain(line.split(' ')));
        match cli.unwrap().verb {
            Verb::Support(arguments) => bundle(&arguments),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn there_is_a_bundle_without_agent_and_configuration() {
        let bundle = bundle_of("--config /nonexistent/proxyip.toml --socket /nonexistent.sock");
        for part in ["/configuration", "/agent/ready", "/agent/status", "/agent/metrics"] {
            let error = bundle.pointer(part).and_then(|part| part["error"].as_str());
            assert!(error.is_some_and(|error| error.contains("/nonexistent")), "{part}: {bundle}");
        }
        assert!(bundle["host"]["kernel"]["release"].is_array(), "{bundle}");
        assert!(bundle["check"]["preflight"].is_array(), "{bundle}");
        assert!(bundle["agent"]["flows"].is_null());
        let note = bundle["notes"][0].as_str().unwrap();
        assert!(note.starts_with("no configuration was read (/nonexistent/proxyip.toml"), "{note}");
        assert!(note.contains("pins below /sys/fs/bpf/proxyip: name"), "{note}");
    }

    #[test]
    fn sentences_lose_their_addresses_and_trusted_networks_stay() {
        let status = json!({
            "findings": ["from 203.0.113.9"], "flows": 3,
            "listeners": [{"name": "web", "trusted": ["10.0.0.0/16"]}],
        });
        let hidden = json!({
            "findings": ["from [address]"], "flows": 3,
            "listeners": [{"name": "web", "trusted": ["10.0.0.0/16"]}],
        });
        assert_eq!(hide(status.clone(), Addresses::Hidden), hidden);
        assert_eq!(hide(status.clone(), Addresses::Shown), status);
    }
}
