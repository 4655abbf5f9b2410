//! `proxyip check`

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use proxyip_api::check::Subject;
use proxyip_api::finding::Finding;
use proxyip_api::status::{DegradedPort, ListenerJson, Status};
use serde::{Serialize, Serializer};

use super::diff::{self, Asked};
use super::exit::Exit;
use super::output::{fail, print};
use super::reading::ask;
use crate::client;
use crate::config::{Config, ConfigError, DEFAULT_SOCKET, Whereabouts};
use crate::json;
use crate::preflight::{Check, State, preflight};

/// Look for mistakes in a configuration file, on this host, and in what a running agent sees.
///
/// It looks at the host as `proxyip run` would find it, and changes nothing. With a file, it also looks at the
/// namespaces, interfaces and applications that the file names. A running agent reports what traffic shows of its own
/// configuration, and of the load balancer.
///
/// With --diff it says what a reload of the file would change, and where the host is not as the configuration in force
/// wants it. If no agent runs, it says what a start would attach and write. --diff without --config takes the file that
/// the agent reads.
///
/// Exit code: 0 nothing found, 1 warnings or findings, 2 wrong configuration or usage, or `proxyip run` would fail. With
/// --diff: 0 no difference, 1 a difference, 2 any error.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Configuration file (TOML) to read. It is not put into force.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Unix socket of the agent, instead of the configuration's.
    #[arg(long, value_name = "PATH", env = "PROXYIP_SOCKET")]
    socket: Option<PathBuf>,
    /// Say what a reload or a start would change, instead of looking for mistakes.
    #[arg(long)]
    diff: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A report with the labels of its warnings and findings, for JSON.
#[derive(Debug, Serialize)]
pub(super) struct Labelled<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// The warnings, then the findings.
    remarks: Vec<&'a Finding>,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// What is wrong with the file.
    problems: Vec<String>,
    /// What is allowed in it, but probably a mistake.
    #[serde(serialize_with = "sentences")]
    warnings: Vec<Finding>,
    /// What the agent has found: in traffic, and in files that change.
    #[serde(serialize_with = "sentences")]
    findings: Vec<Finding>,
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
    #[serde(skip)]
    looked_at: LookedAt,
}

/// What was looked at beside the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LookedAt {
    #[default]
    NoFile,
    File,
}

impl LookedAt {
    /// Words on what was not looked at.
    const fn unseen(self) -> &'static str {
        match self {
            Self::NoFile => {
                " on this host; no configuration file was looked at, since --config names none"
            }
            Self::File => "",
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let (ended, wrong) = if arguments.diff {
        let Arguments { config, socket, json, .. } = arguments;
        let asked = Asked { file: config.as_deref(), socket: socket.as_deref(), json: *json };
        (diff::run(&asked), Exit::NoDifference)
    } else {
        (check(arguments), Exit::Wrong)
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => fail(format_args!("{error:#}"), wrong),
    }
}

/// Prints the report; how the command ends.
fn check(arguments: &Arguments) -> Result<Exit> {
    let report = report(arguments.config.as_deref(), arguments.socket.as_deref());
    if arguments.json {
        print([&json::to_vec(&report.labelled())?[..], b"\n"].concat())?;
    } else {
        print(report.text())?;
    }
    Ok(report.exit())
}

/// Looks at the host, at a file if there is one, and asks the agent on the socket, or the file's.
pub(super) fn report(file: Option<&Path>, socket: Option<&Path>) -> Report {
    let looked_at = if file.is_some() { LookedAt::File } else { LookedAt::NoFile };
    let mut report = Report { looked_at, ..Report::default() };
    let config = file.and_then(|path| report.read(path));
    let whereabouts = match (&config, file) {
        (Some(config), _) => Some(config.whereabouts()),
        // The agent of a file with mistakes is that of the file without them.
        (None, Some(file)) => fs::read_to_string(file).ok().map(|text| Whereabouts::read(&text)),
        (None, None) => None,
    };
    let configured = whereabouts.as_ref().map(|there| &*there.socket);
    let named = socket;
    let socket = socket.or(configured).unwrap_or(DEFAULT_SOCKET.as_ref());
    let status = ask(async { Ok(client::get::<Status>(socket, "/v1/status").await?.0) });
    let pin_path = whereabouts.as_ref().map(|there| &*there.pin_path);
    report.preflight =
        preflight(config.as_ref(), pin_path, status.as_ref().ok(), &again(file, named));
    match status {
        Ok(status) => report.hear(status),
        Err(error) => report.silence = Some(format!("{error:#}")),
    }
    report.notes.extend(named.zip(configured).and_then(|(named, of_file)| asked(named, of_file)));
    report
}

/// That the agent was asked elsewhere than where the file has it.
fn asked(named: &Path, of_file: &Path) -> Option<String> {
    let (named, of_file) = (named.display(), of_file.display());
    (named.to_string() != of_file.to_string()).then(|| {
        format!(
            "the agent was asked on {named}, as --socket or PROXYIP_SOCKET says, and not on {of_file}, the socket of the file"
        )
    })
}

/// The same command, for a shell.
fn again(file: Option<&Path>, socket: Option<&Path>) -> String {
    let mut command = "proxyip check".to_owned();
    for (option, path) in [("--config", file), ("--socket", socket)] {
        if let Some(path) = path {
            let path = path.display().to_string().replace('\'', r"'\''");
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
            let word = if path.chars().all(is_plain) { path } else { format!("'{path}'") };
            write!(command, " {option} {word}").ok();
        }
    }
    command
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

    pub(super) fn labelled(&self) -> Labelled<'_> {
        let remarks = self.warnings.iter().chain(&self.findings).collect();
        Labelled { report: self, remarks }
    }

    /// Takes what an agent says.
    fn hear(&mut self, status: Status) {
        self.agent = true;
        let (warnings, findings) = status.split_remarks();
        // The file may have the same.
        let known: Vec<_> = self.warnings.iter().map(|one| one.sentence.clone()).collect();
        self.warnings.extend(warnings.into_iter().filter(|one| !known.contains(&one.sentence)));
        self.findings = findings;
        self.notes = status.listeners.iter().flat_map(notes).collect();
        self.limits = status.kernel;
    }

    /// A line each; problems without a word before them, so that editors can follow them to
    /// their lines. Then what was looked at on the host.
    fn text(&self) -> String {
        let mut lines = Vec::new();
        lines.extend(self.problems.iter().map(|problem| format!("{problem}\n")));
        for (kind, remarks) in [("warning", &self.warnings), ("found", &self.findings)] {
            lines.extend(remarks.iter().map(|remark| format!("{kind}: {remark}\n")));
        }
        for (kind, sentences) in [("note", &self.notes), ("kernel", &self.limits)] {
            lines.extend(sentences.iter().map(|sentence| format!("{kind}: {sentence}\n")));
        }
        let own = self.own_namespace();
        let place = |check: &Check| place(check, own);
        for group in self.preflight.chunk_by(|one, other| place(one) == place(other)) {
            lines.push(format!("{}\n", place(&group[0])));
            lines.extend(group.iter().map(|Check { check, state, sentence, .. }| {
                format!("  {:<7}  {}: {sentence}\n", state.label(), check.label())
            }));
        }
        if self.exit() == Exit::Clean {
            lines.push(format!("no mistakes found{}\n", self.looked_at.unseen()));
        }
        if let Some(why) = &self.silence {
            lines.push(format!("nothing could be learnt from traffic: {why}\n"));
        }
        lines.concat()
    }

    /// What the namespace is that this command runs in.
    fn own_namespace(&self) -> &'static str {
        let is_another = |check: &Check| check.check == Subject::Netns && check.netns.is_none();
        if self.preflight.iter().any(is_another) {
            "this network namespace, which is not the agent's"
        } else {
            "the agent's network namespace"
        }
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

fn sentences<S: Serializer>(all: &[Finding], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(all.iter().map(|one| &one.sentence))
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
        let place = if netns == "host" { String::new() } else { format!(" in {netns}") };
        format!(
            "listener {name:?}: new connections to port {port}{place} are translated for {retry_s} s more \
             (`proxyip explain {reason}`)"
        )
    }));
    notes
}

/// What stands above a check and those beside it. `own` is the namespace that this command runs in.
fn place(check: &Check, own: &str) -> String {
    match (&check.netns, check.check) {
        (Some(netns), _) if netns == "host" => own.into(),
        (Some(netns), _) => format!("network namespace {netns}"),
        (None, Subject::Listener) => "applications".into(),
        (None, _) => "this host".into(),
    }
}

#[cfg(test)]
mod tests;
