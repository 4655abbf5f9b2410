//! `cargo xtask churn`: network namespaces that come and go under a pattern, under load.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use clap::Args;

use crate::{
    agent, build_ebpf,
    command::{run as run_command, workspace_cargo},
    host, packages,
    programs::Programs,
};

/// How long it takes, and what happens
#[derive(Args)]
pub(crate) struct Options {
    /// For how many seconds namespaces come and go
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(10..))]
    pub(crate) seconds: u32,
    /// How many there can be at a time
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u8).range(2..=250))]
    pub(crate) namespaces: u8,
    /// What decides about everything: the number that an earlier run has printed
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// The program, in place of the agent as it is released
    #[arg(long, value_name = "PATH")]
    pub(crate) agent: Option<PathBuf>,
}

/// Builds the agent as it is released, and lets namespaces come and go.
pub(crate) fn run(options: &Options) -> Result<()> {
    host::prepare("churn")?;
    packages::install_for_host_tests()?;
    build_ebpf::run()?;
    with_agent(&agent::given_or_built(options.agent.as_deref())?, options)
}

/// The same with an agent that is built, once the packages are there.
pub(crate) fn with_agent(agent: &Path, options: &Options) -> Result<()> {
    run_command(&mut with_arguments(built_by_cargo(), agent, options))
}

/// The same with programs that are built.
pub(crate) fn check(programs: &Programs, options: &Options) -> Result<()> {
    run_command(&mut with_arguments(Command::new(&programs.churn), &programs.agent, options))
}

// Started and not linked, so that the other verbs need not wait for it to build.
fn built_by_cargo() -> Command {
    let mut command = workspace_cargo();
    command.args(["run", "--quiet", "--profile", "ci"]);
    command.args(["--package", "proxyip-tests", "--bin", "churn", "--"]);
    command
}

fn with_arguments(mut command: Command, agent: &Path, options: &Options) -> Command {
    let Options { seconds, namespaces, seed, .. } = options;
    command.arg(agent);
    command.args(["--seconds", &seconds.to_string(), "--namespaces", &namespaces.to_string()]);
    if let Some(seed) = seed {
        command.args(["--seed", &seed.to_string()]);
    }
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
            let options = Options { seconds: 20, namespaces: 40, seed, agent: None };
            shell_line(&with_arguments(built_by_cargo(), agent, &options))
        };
        let without = " --bin churn -- /t/release/proxyip --seconds 20 --namespaces 40";
        assert!(line(None).ends_with(without), "{}", line(None));
        assert!(line(Some(9)).ends_with(" --namespaces 40 --seed 9"), "{}", line(Some(9)));
    }
}
