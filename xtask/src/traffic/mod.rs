//! `cargo xtask bench connections`, `requests`, `bulk`, `flood`, `lists` and `flows`: what traffic costs with proxyip, and
//! with its rivals, on one host.

mod kind;
mod mmproxy;
mod plot;
mod record;
mod samples;
mod table;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    agent, build_ebpf,
    command::{output, workspace_root},
    docs, host,
    program::{self, Files},
    programs::{Profile, Programs},
};
pub(crate) use kind::Kind;
use record::Record;

/// How much is measured
#[derive(Clone, Copy, Args)]
pub(crate) struct Effort {
    /// Measures of traffic: rounds. All contenders are measured in each round [default: 5]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: Option<u32>,
    /// Measures of traffic: seconds for each contender in a round [default: 2]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) seconds: Option<f64>,
}

impl Effort {
    /// Whether any option was given.
    pub(crate) const fn is_given(&self) -> bool {
        self.rounds.is_some() || self.seconds.is_some()
    }
}

/// A time in which something can be measured.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.01..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "not a number from 0.01 to 3600".to_owned())
}

/// As long as tests can wait for.
const SHORT: Effort = Effort { rounds: Some(1), seconds: Some(0.2) };

/// What measures, and what is measured.
struct Tools {
    program: PathBuf,
    agent: PathBuf,
    mmproxy: PathBuf,
}

impl Tools {
    /// Builds all that is needed, unless the operator names the agent.
    fn built(agent: Option<&Path>) -> Result<Self> {
        host::prepare("bench")?;
        build_ebpf::run()?;
        let agent = agent::given_or_built(agent)?;
        // Load generator and servers have to be as fast as a release.
        let program = program::built(PROGRAM, Profile::Release)?;
        Ok(Self { program, agent, mmproxy: mmproxy::installed()? })
    }

    fn measure(&self, kind: Kind, effort: Effort) -> Result<Record> {
        let lines = output(&mut self.command(kind, effort))?;
        Record::of(&lines).with_context(|| format!("what {kind} has printed"))
    }

    fn command(&self, kind: Kind, effort: Effort) -> Command {
        let mut command = Command::new(&self.program);
        command.env("PROXYIP_BIN", &self.agent).env("PROXYIP_MMPROXY", &self.mmproxy);
        command.arg(kind.name());
        if let Some(rounds) = effort.rounds {
            command.args(["--rounds", &rounds.to_string()]);
        }
        if let Some(seconds) = effort.seconds {
            command.args(["--seconds", &seconds.to_string()]);
        }
        command
    }
}

const PROGRAM: &str = "bench_traffic";

/// Measures, prints tables, compares, and fails over a limit or with errors.
pub(crate) fn run(
    kind: Kind,
    effort: Effort,
    files: &Files<'_>,
    agent: Option<&Path>,
) -> Result<()> {
    let before = files.against.map(Record::read).transpose()?;
    let measured = Tools::built(agent)?.measure(kind, effort)?;
    print!("{}", table::of(kind, &measured, before.as_ref()));
    if let Some(path) = files.json {
        measured.write(path)?;
    }
    if let Some(before) = before {
        measured.same_contenders(&before)?;
    }
    judge(kind, &measured)
}

/// Measures everything, and writes the records of the repository and the documents. Then it fails over a limit
/// or with errors.
pub(crate) fn record(effort: Effort, agent: Option<&Path>) -> Result<()> {
    let tools = Tools::built(agent)?;
    let mut judgments = Vec::new();
    for kind in Kind::ALL {
        eprintln!("{kind}");
        let measured = tools.measure(kind, effort)?;
        print!("{}", table::of(kind, &measured, None));
        measured.write(&workspace_root().join(kind.place()))?;
        judgments.push(judge(kind, &measured));
    }
    docs::run(&docs::Options::WRITE)?;
    judgments.into_iter().collect()
}

fn judge(kind: Kind, measured: &Record) -> Result<()> {
    measured.without_errors().with_context(|| kind.to_string())?;
    kind.judge(measured)
}

/// A short form of each, so that none stops working unnoticed. An error if a contender of the record is not there, or has
/// errors. How fast it is does not matter.
pub(crate) fn check(programs: &Programs) -> Result<()> {
    let tools = Tools {
        program: programs.bench_traffic.clone(),
        agent: programs.agent.clone(),
        mmproxy: mmproxy::installed()?,
    };
    for kind in Kind::ALL {
        let measured = tools.measure(kind, SHORT)?;
        measured.same_contenders(&Record::read(&workspace_root().join(kind.place()))?)?;
        measured.without_errors().with_context(|| kind.to_string())?;
    }
    Ok(())
}

/// The tables of what the records in the repository have, by the name of their block.
pub(crate) fn blocks(root: &Path) -> Result<Vec<(&'static str, String)>> {
    let record = |kind: Kind| Record::read(&root.join(kind.place()));
    let rates = table::of_rates(&record(Kind::Connections)?, &record(Kind::Requests)?);
    let block = |kind: Kind| {
        let record = record(kind)?;
        let text = format!("{}\n{}", table::of(kind, &record, None), table::circumstances(&record));
        Ok((kind.name(), text))
    };
    let rates = ("rates", rates);
    Kind::ALL.into_iter().map(block).chain([Ok(rates)]).collect()
}

/// The plots of the same, by path.
pub(crate) fn plots(root: &Path) -> Result<Vec<(String, String)>> {
    let plot = |kind: Kind| {
        let record = Record::read(&root.join(kind.place()))?;
        Ok((format!("docs/benchmarks/{kind}.svg"), plot::of(kind, &record)))
    };
    Kind::ALL.into_iter().map(plot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::shell_line;

    #[test]
    fn the_program_gets_what_it_measures() {
        let path = PathBuf::from;
        let tools = Tools { program: path("/t/b"), agent: path("/t/a"), mmproxy: path("/t/m") };
        let command = tools.command(Kind::Connections, SHORT);
        assert_eq!(shell_line(&command), "/t/b connections --rounds 1 --seconds 0.2");
        let variables = [("PROXYIP_BIN", "/t/a"), ("PROXYIP_MMPROXY", "/t/m")];
        for (name, value) in variables {
            let variable = (name.as_ref(), Some(value.as_ref()));
            assert!(command.get_envs().any(|other| other == variable), "{name}");
        }
    }
}
