//! `cargo xtask model`: an agent against a naive model of its policy, for thousands of steps.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::{
    build_ebpf,
    command::run as run_command,
    host, packages,
    programs::{Profile, Programs},
};

/// The test that does it. The gate runs it with few steps, beside the other end-to-end tests.
const TEST: &str = "model::the_policy_of_an_agent_is_that_of_the_model";

/// How long it takes, and what happens
#[derive(Args)]
pub(crate) struct Options {
    /// How many steps, in all
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) steps: u32,
    /// How many agents share them
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) agents: u32,
    /// What decides about the steps: the number that an earlier run has printed
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

/// Builds everything, and takes the steps.
pub(crate) fn run(options: &Options) -> Result<()> {
    host::prepare("model")?;
    packages::install_for_host_tests()?;
    build_ebpf::run()?;
    take_steps(&Programs::build(Profile::Ci)?, options)
}

/// The same with programs that are built, once the packages are there.
pub(crate) fn take_steps(programs: &Programs, options: &Options) -> Result<()> {
    let mut command = programs.end_to_end("e2e")?.command();
    command.env("PROXYIP_BIN", &programs.agent);
    run_command(with_arguments(&mut command, options))
}

fn with_arguments<'a>(command: &'a mut Command, options: &Options) -> &'a mut Command {
    let Options { steps, agents, seed } = options;
    command.env("PROXYIP_MODEL_STEPS", steps.to_string());
    command.env("PROXYIP_MODEL_AGENTS", agents.to_string());
    command.envs(seed.map(|seed| ("PROXYIP_MODEL_SEED", seed.to_string())));
    command.args(["--exact", TEST])
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_run_can_be_repeated() {
        let variables = |seed| {
            let mut command = Command::new("e2e");
            with_arguments(&mut command, &Options { steps: 7, agents: 2, seed });
            let text = |text: &OsStr| text.to_str().expect("text").to_owned();
            let variables = command.get_envs();
            variables.map(|(name, value)| (text(name), text(value.unwrap()))).collect::<Vec<_>>()
        };
        let number =
            |name: &str, number: &str| (format!("PROXYIP_MODEL_{name}"), number.to_owned());
        let without = [number("AGENTS", "2"), number("STEPS", "7")];
        assert_eq!(variables(None), without);
        let [agents, steps] = without;
        assert_eq!(variables(Some(9)), [agents, number("SEED", "9"), steps]);
    }
}
