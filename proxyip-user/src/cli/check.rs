//! `proxyip check`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use proxyip_api::status::{DegradedPort, ListenerJson, Status};
use serde::Serialize;

use super::exit::Exit;
use super::output::{fail, print};
use super::reading::ask;
use crate::client;
use crate::config::{Config, ConfigError, DEFAULT_SOCKET};
use crate::json;
use crate::preflight::{Check, State, preflight};

/// Look for mistakes in a configuration file, on this host, and in what a running agent sees.
///
/// It looks at the host as `proxyip run` would find it, and changes nothing. With a file, it also looks at the
/// namespaces, interfaces and applications that the file names. A running agent reports what traffic shows of its own
/// configuration, and of the load balancer.
///
/// Exit code: 0 nothing found, 1 warnings or findings, 2 wrong configuration or usage, or `proxyip run` would fail.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Configuration file (TOML) to read. It is not put into force.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Unix socket of the agent, instead of the configuration's.
    #[arg(long, value_name = "PATH", env = "PROXYIP_SOCKET")]
    socket: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// What is wrong with the file.
    problems: Vec<String>,
    /// What is allowed in it, but probably a mistake.
    warnings: Vec<String>,
    /// What the agent has found: in traffic, and in files that change.
    findings: Vec<String>,
    /// What the agent has counted, which may be meant.
    notes: Vec<String>,
    /// What the kernel cannot do.
    limits: Vec<String>,
    /// What `proxyip run` would find.
    preflight: Vec<Check>,
    /// Whether an agent has answered.
    agent: bool,
    /// Why none has.
    #[serde(skip)]
    silence: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match check(arguments) {
        Ok(exit) => exit.into(),
        Err(error) => fail(format_args!("{error:#}"), Exit::Wrong),
    }
}

/// Prints the report; how the command ends.
fn check(arguments: &Arguments) -> Result<Exit> {
    let report = report(arguments.config.as_deref(), arguments.socket.as_deref());
    if arguments.json {
        print([&json::to_vec(&report)?[..], b"\n"].concat())?;
    } else {
        print(report.text())?;
    }
    Ok(report.exit())
}

/// Looks at the host, at a file if there is one, and asks the agent on the socket, or the file's.
pub(super) fn report(file: Option<&Path>, socket: Option<&Path>) -> Report {
    let mut report = Report::default();
    let config = file.and_then(|path| report.read(path));
    let configured = config.as_ref().map(|config| &*config.api.socket);
    let socket = socket.or(configured).unwrap_or(DEFAULT_SOCKET.as_ref());
    let status = ask(async { Ok(client::get::<Status>(socket, "/v1/status").await?.0) });
    let agent = status.as_ref().ok().map(|status| status.pid);
    report.preflight = preflight(config.as_ref(), agent);
    match status {
        Ok(status) => report.hear(status),
        Err(error) => report.silence = Some(format!("{error:#}")),
    }
    report
}

impl Report {
    /// Takes the remarks on a file. Returns its content if it is valid.
    fn read(&mut self, path: &Path) -> Option<Config> {
        match Config::from_file(path) {
            Ok(config) => {
                self.warnings = config.warnings();
                Some(config)
            }
            Err(ConfigError::Wrong { path, problems } | ConfigError::Host { path, problems }) => {
                let place = path.display();
                self.problems =
                    problems.iter().map(|problem| format!("{place}:{problem}")).collect();
                None
            }
            Err(error) => {
                self.problems = vec![error.to_string()];
                None
            }
        }
    }

    /// Takes what an agent says.
    fn hear(&mut self, status: Status) {
        self.agent = true;
        // The file may have the same.
        let new = status.warnings.into_iter().filter(|warning| !self.warnings.contains(warning));
        self.warnings.extend(new.collect::<Vec<_>>());
        self.findings = status.findings;
        self.notes = status.listeners.iter().flat_map(notes).collect();
        self.limits = status.kernel;
    }

    /// A line each; problems without a word before them, so that editors can follow them to
    /// their lines. Then what was looked at on the host.
    fn text(&self) -> String {
        let mut lines = Vec::new();
        for (kind, sentences) in [
            ("", &self.problems),
            ("warning: ", &self.warnings),
            ("found: ", &self.findings),
            ("note: ", &self.notes),
            ("kernel: ", &self.limits),
        ] {
            lines.extend(sentences.iter().map(|sentence| format!("{kind}{sentence}\n")));
        }
        for group in self.preflight.chunk_by(|one, other| place(one) == place(other)) {
            lines.push(format!("{}\n", place(&group[0])));
            lines.extend(group.iter().map(|Check { check, state, sentence, .. }| {
                format!("  {:<7}  {check}: {sentence}\n", state.label())
            }));
        }
        if self.exit() == Exit::Clean {
            lines.push("no mistakes found\n".into());
        }
        if let Some(why) = &self.silence {
            lines.push(format!("nothing could be learnt from traffic: {why}\n"));
        }
        lines.concat()
    }

    /// Limits of the kernel are nobody's mistake.
    fn exit(&self) -> Exit {
        let worst = self.preflight.iter().map(|check| check.state).max();
        if !self.problems.is_empty() || worst == Some(State::Problem) {
            Exit::Wrong
        } else if self.warnings.is_empty()
            && self.findings.is_empty()
            && worst != Some(State::Warning)
        {
            Exit::Clean
        } else {
            Exit::Doubtful
        }
    }
}

/// What may be meant, and may explain what an operator sees.
fn notes(listener: &ListenerJson) -> Vec<String> {
    let name = &listener.name;
    let mut notes = Vec::new();
    if listener.headerless > 0 {
        notes.push(format!(
            "listener {name:?}: {} connections of trusted sources began without a header",
            listener.headerless
        ));
    }
    notes.extend(listener.degraded.iter().map(|DegradedPort { port, netns, reason, retry_s }| {
        format!(
            "listener {name:?}: new connections to port {port} ({netns}) are translated for {retry_s} s more \
             (`proxyip explain {reason}`)"
        )
    }));
    notes
}

/// What stands above a check and those beside it.
fn place(check: &Check) -> String {
    match (&check.netns, check.check) {
        (Some(netns), _) => format!("network namespace {netns}"),
        (None, "listener") => "applications".into(),
        (None, _) => "this host".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    /// Reads a file with `text`.
    fn read(text: &str) -> (Report, Option<Config>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxyip.toml");
        fs::write(&path, text).unwrap();
        let mut report = Report::default();
        let config = report.read(&path);
        (report, config)
    }

    #[test]
    fn files_are_right_questionable_or_wrong() {
        for (text, code, part) in [
            ("[[listener]]\nports=[443]\ntrusted=['10.0.0.0/8']\n", 0, "no mistakes found"),
            ("[[listener]]\nports=[443]\ntrusted=['0.0.0.0/0']\n", 1, "warning: listener"),
            ("[[listener]]\nports=[0]\n", 2, "/proxyip.toml:2: listener.ports: "),
            ("[[listener]]\nports=[0]\n", 2, "/proxyip.toml:1: listener.trusted: missing"),
        ] {
            let (report, _) = read(text);
            assert_eq!(report.exit().code(), code, "{report:?}");
            assert!(report.text().contains(part), "{}", report.text());
        }
        let mut report = Report::default();
        report.read(Path::new("/nonexistent/proxyip.toml"));
        assert_eq!((report.exit().code(), report.problems.len()), (2, 1), "{report:?}");
    }

    #[test]
    fn the_agent_is_asked_where_the_file_says() {
        let file = "[[listener]]\nports=[443]\ntrusted=['10.0.0.0/8']\n[api]\nsocket='/x/api.sock'";
        assert_eq!(read(file).1.unwrap().api.socket, Path::new("/x/api.sock"));
    }

    #[test]
    fn each_sentence_has_its_line() {
        let mut report = Report {
            warnings: vec!["w".into()],
            findings: vec!["f".into(), "g".into()],
            notes: vec!["n".into()],
            limits: vec!["l".into()],
            silence: Some("no agent".into()),
            ..Report::default()
        };
        assert_eq!(
            report.text(),
            "warning: w\nfound: f\nfound: g\nnote: n\nkernel: l\n\
             nothing could be learnt from traffic: no agent\n"
        );
        assert_eq!(report.exit().code(), 1);
        report.warnings.clear();
        report.findings.clear();
        report.notes.clear();
        assert_eq!((report.exit().code(), report.text().contains("no mistakes found")), (0, true));
        assert_eq!(
            serde_json::to_value(&report).unwrap(),
            json!({
                "problems": [], "warnings": [], "findings": [], "notes": [], "limits": ["l"],
                "preflight": [], "agent": false,
            })
        );
    }

    #[test]
    fn what_may_be_meant_is_noted() {
        let listener = json!({
            "name": "web", "ports": [443], "trusted": [], "denied": "reset", "hand_off": "auto",
            "new_connections": {"hand_off": "accept", "why": "x"}, "connections": [], "headerless": 7,
            "degraded": [{"port": 443, "netns": "host", "reason": "stack_refuses", "retry_s": 9}],
        });
        let notes = notes(&serde_json::from_value(listener).unwrap());
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("\"web\": 7 connections"), "{notes:?}");
        assert!(notes[1].contains("443 (host) are translated for 9 s"), "{notes:?}");
    }

    fn looked_at(check: &'static str, netns: Option<&str>, state: State) -> Check {
        Check { check, netns: netns.map(Into::into), state, sentence: "as it is".into() }
    }

    #[test]
    fn what_was_looked_at_is_grouped() {
        let report = Report {
            preflight: vec![
                looked_at("kernel", None, State::Ok),
                looked_at("cgroup", None, State::Problem),
                looked_at("interface", Some("/run/netns/blue"), State::Ok),
                looked_at("listener", None, State::Warning),
            ],
            ..Report::default()
        };
        assert_eq!(
            report.text(),
            "this host\n  ok       kernel: as it is\n  problem  cgroup: as it is\n\
             network namespace /run/netns/blue\n  ok       interface: as it is\n\
             applications\n  warning  listener: as it is\n"
        );
        let json = serde_json::to_value(&report).unwrap();
        let problem = json!({"check": "cgroup", "state": "problem", "sentence": "as it is"});
        assert_eq!(json["preflight"][1], problem);
        assert_eq!(json["preflight"][2]["netns"], "/run/netns/blue");
    }

    #[test]
    fn the_worst_that_was_found_is_the_exit_code() {
        for (state, code) in [(State::Ok, 0), (State::Warning, 1), (State::Problem, 2)] {
            let preflight =
                vec![looked_at("kernel", None, State::Ok), looked_at("jit", None, state)];
            assert_eq!(Report { preflight, ..Report::default() }.exit().code(), code, "{state:?}");
        }
    }
}
