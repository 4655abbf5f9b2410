//! `cargo xtask bench` and `cargo xtask screenshots`: programs that share the fixtures of the end-to-end tests.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{
    agent, build_ebpf,
    command::{run as run_command, workspace_cargo},
    host, packages, packets,
};

/// What can be measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Measure {
    /// Lookups: the line protocol beside Redis, and tables of a thousand and a million flows
    Lookup,
    /// What the `getsockopt()` hook costs other calls
    Getsockopt,
    /// What the kernel programs cost for each class of packets. Takes `--kernel`, `--against` and `--json`
    Packets,
    /// An agent that serves 256 network namespaces: time, memory, processor at rest. Fails over the limits
    Namespaces,
}

/// What is measured, and the agent
#[derive(Args)]
pub(crate) struct Bench {
    /// What to measure
    measure: Measure,
    /// The program to measure, in place of the agent as it is released
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
    #[command(flatten)]
    packets: packets::Options,
    /// What the measuring program gets: `-- --help` lists it
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
}

impl Measure {
    /// The program; none for what needs no agent.
    const fn program(self) -> Option<&'static str> {
        match self {
            Self::Lookup => Some("bench_lookup"),
            Self::Getsockopt => Some("bench_getsockopt"),
            Self::Namespaces => Some("bench_namespaces"),
            Self::Packets => None,
        }
    }
}

/// Builds what is needed, and measures.
pub(crate) fn bench(bench: &Bench) -> Result<()> {
    let Some(name) = bench.measure.program() else {
        return packets::run(&bench.packets, &bench.arguments);
    };
    prepare("bench")?;
    build_ebpf::run()?;
    let agent = agent::given_or_built(bench.agent.as_deref())?;
    run_command(program(name, &agent).arg("--").args(&bench.arguments))
}

/// What 256 namespaces cost an agent that is built, once the packages are there.
pub(crate) fn namespaces(agent: &Path) -> Result<()> {
    run_command(&mut program("bench_namespaces", agent))
}

/// Builds everything and makes the pictures of the documents.
pub(crate) fn screenshots() -> Result<()> {
    prepare("screenshots")?;
    build_ebpf::run()?;
    run_command(&mut program("screenshots", &agent::build()?))
}

fn prepare(verb: &str) -> Result<()> {
    host::prepare(verb)?;
    packages::install_for_host_tests()
}

// Started and not linked, so that the other verbs need not wait for it to build.
fn program(name: &str, agent: &Path) -> Command {
    let mut command = workspace_cargo();
    command.env("PROXYIP_BIN", agent);
    command.args(["run", "--quiet", "--release", "--package", "proxyip-tests", "--bin", name]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::shell_line;

    #[test]
    fn programs_get_the_built_agent() {
        let command = program("bench_lookup", Path::new("/t/release/proxyip"));
        let line = shell_line(&command);
        assert!(line.ends_with(" --release --package proxyip-tests --bin bench_lookup"), "{line}");
        let agent = ("PROXYIP_BIN".as_ref(), Some("/t/release/proxyip".as_ref()));
        assert!(command.get_envs().any(|variable| variable == agent));
    }
}
