//! `cargo xtask chaos`: everything that a host does to an agent, at random, under load.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    agent, build_ebpf,
    command::{run as run_command, workspace_cargo, workspace_root},
    host, packages,
    programs::Programs,
};

/// How long it takes, and what happens
#[derive(Args)]
pub(crate) struct Options {
    /// For how many minutes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
    /// What decides about the troubles: the number that an earlier run has printed
    #[arg(long)]
    seed: Option<u64>,
}

/// Builds the agent as it is released, and makes trouble for it.
pub(crate) fn run(options: &Options) -> Result<()> {
    host::prepare("chaos")?;
    packages::install_for_host_tests()?;
    build_ebpf::run()?;
    run_command(&mut with_arguments(built_by_cargo(), &agent::build()?, options))
}

/// Makes trouble beside something else, and prints afterwards what came of it.
pub(crate) fn beside(programs: &Programs, minutes: u32) -> Result<()> {
    let options = Options { minutes, seed: None };
    let mut command = with_arguments(Command::new(&programs.chaos), &programs.agent, &options);
    let output = command.output().context("the chaos does not start")?;
    let log = [output.stdout, output.stderr].concat();
    let path = log_file();
    fs::write(&path, &log).with_context(|| format!("cannot write {}", path.display()))?;
    eprint!("{}", String::from_utf8_lossy(&log));
    if !output.status.success() {
        bail!("see {}", path.display());
    }
    Ok(())
}

fn log_file() -> PathBuf {
    workspace_root().join("target/chaos.log")
}

// Started and not linked, so that the other verbs need not wait for it to build.
fn built_by_cargo() -> Command {
    let mut command = workspace_cargo();
    command.args(["run", "--quiet", "--package", "proxyip-tests", "--bin", "chaos", "--"]);
    command
}

fn with_arguments(mut command: Command, agent: &Path, options: &Options) -> Command {
    command.arg(agent).arg(options.minutes.to_string());
    command.args(options.seed.map(|seed| seed.to_string()));
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::shell_line;

    #[test]
    fn a_run_can_be_repeated() {
        let agent = Path::new("/t/release/proxyip");
        let line = |seed| {
            shell_line(&with_arguments(built_by_cargo(), agent, &Options { minutes: 7, seed }))
        };
        assert!(line(None).ends_with(" --bin chaos -- /t/release/proxyip 7"), "{}", line(None));
        assert!(line(Some(9)).ends_with(" /t/release/proxyip 7 9"), "{}", line(Some(9)));
    }
}
