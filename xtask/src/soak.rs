//! `cargo xtask soak`: one agent under load, for minutes, while everything happens to it that it survives.

use std::{path::Path, process::Command};

use anyhow::Result;
use clap::Args;

use crate::{
    agent, build_ebpf,
    command::{run as run_command, workspace_cargo},
    host,
};

/// How long it takes
#[derive(Args)]
pub(crate) struct Options {
    /// For how many minutes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
}

/// Builds everything as it is released, and soaks it.
pub(crate) fn run(options: &Options) -> Result<()> {
    host::prepare("soak")?;
    build_ebpf::run()?;
    soak(&agent::build()?, options.minutes)
}

/// Soaks an agent that is built, once the packages are there.
pub(crate) fn soak(agent: &Path, minutes: u32) -> Result<()> {
    run_command(&mut program(agent, minutes))
}

// Started and not linked, so that the other verbs need not wait for it to build.
fn program(agent: &Path, minutes: u32) -> Command {
    let mut command = workspace_cargo();
    command.args(["run", "--quiet", "--package", "proxyip-tests", "--bin", "soak", "--"]);
    command.arg(agent).arg(minutes.to_string());
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::shell_line;

    #[test]
    fn the_soak_gets_its_agent_and_its_time() {
        let line = shell_line(&program(Path::new("/t/release/proxyip"), 7));
        assert!(line.ends_with(" --bin soak -- /t/release/proxyip 7"), "{line}");
    }
}
