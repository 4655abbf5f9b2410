//! `cargo xtask bench` and `cargo xtask screenshots`: programs that share the fixtures of the end-to-end tests.

use std::{path::Path, process::Command};

use anyhow::Result;
use clap::ValueEnum;

use crate::{
    agent, build_ebpf,
    command::{run as run_command, workspace_cargo},
    host, packages,
};

/// What can be measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Measure {
    /// Lookups: the line protocol beside Redis, and tables of a thousand and a million flows
    Lookup,
    /// What the `getsockopt()` hook costs other calls
    Getsockopt,
}

impl Measure {
    const fn program(self) -> &'static str {
        match self {
            Self::Lookup => "bench_lookup",
            Self::Getsockopt => "bench_getsockopt",
        }
    }
}

/// Builds everything and measures.
pub(crate) fn bench(measure: Measure) -> Result<()> {
    build_and_run("bench", measure.program())
}

/// Builds everything and makes the pictures of the documents.
pub(crate) fn screenshots() -> Result<()> {
    build_and_run("screenshots", "screenshots")
}

fn build_and_run(verb: &str, name: &str) -> Result<()> {
    host::prepare(verb)?;
    packages::install_for_host_tests()?;
    build_ebpf::run()?;
    run_command(&mut program(name, &agent::build()?))
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
