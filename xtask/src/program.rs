//! `cargo xtask bench` and `cargo xtask screenshots`: programs that share the fixtures of the end-to-end tests.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::{
    agent, build_ebpf,
    command::{run as run_command, workspace_cargo, workspace_root},
    host, packages, packets,
    programs::Profile,
    traffic::{self, Kind},
};

/// What can be measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Measure {
    /// Lookups: the line protocol beside Redis, and tables of a thousand and a million flows
    Lookup,
    /// What the `getsockopt()` hook costs other calls
    Getsockopt,
    /// What the kernel programs cost for each class of packets
    Packets,
    /// An agent that serves 256 network namespaces: time, memory, processor at rest. Fails over the limits
    Namespaces,
    /// New connections, beside nginx alone, its own `proxy_protocol`, `HAProxy` and mmproxy-rs
    Connections,
    /// The same for requests on connections that stay
    Requests,
    /// Bytes of one connection, up and down, with and without offloads
    Bulk,
    /// A SYN and a forged ACK of a flood, beside the kernel's SYN cookies and a drop by XDP
    Flood,
    /// New connections with 100,000 prefixes, and with 1,000 listeners. Fails over a limit
    Lists,
    /// New connections beside a million flows. Fails over a limit
    Flows,
    /// The measures of traffic, from `connections` on, into the records in docs/benchmarks, and the documents from these
    Record,
}

/// The records that measurements are compared with and written into.
#[derive(Clone, Copy)]
pub(crate) struct Files<'a> {
    pub(crate) against: Option<&'a Path>,
    pub(crate) json: Option<&'a Path>,
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
    #[command(flatten)]
    effort: traffic::Effort,
    /// Measures of packets and traffic: compare with this record. Fails if classes or contenders are not the same, or if
    /// a class of packets needs a tenth more instructions
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Measures of packets and traffic: write what was measured into this record. What a record of packets has of other
    /// kernels stays
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What the measuring program gets: `-- --help` lists it
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
}

/// Builds what is needed, and measures.
pub(crate) fn bench(bench: &Bench) -> Result<()> {
    bench.options_fit()?;
    let files = Files { against: bench.against.as_deref(), json: bench.json.as_deref() };
    let traffic = |kind| traffic::run(kind, bench.effort, &files, bench.agent.as_deref());
    match bench.measure {
        Measure::Lookup => bench.of_agent("bench_lookup"),
        Measure::Getsockopt => bench.of_agent("bench_getsockopt"),
        Measure::Namespaces => bench.of_agent("bench_namespaces"),
        Measure::Packets => packets::run(&bench.packets, &files, &bench.arguments),
        Measure::Connections => traffic(Kind::Connections),
        Measure::Requests => traffic(Kind::Requests),
        Measure::Bulk => traffic(Kind::Bulk),
        Measure::Flood => traffic(Kind::Flood),
        Measure::Lists => traffic(Kind::Lists),
        Measure::Flows => traffic(Kind::Flows),
        Measure::Record => traffic::record(bench.effort, bench.agent.as_deref()),
    }
}

impl Measure {
    /// Whether it is one of several rounds beside rivals.
    const fn is_of_traffic(self) -> bool {
        !matches!(self, Self::Lookup | Self::Getsockopt | Self::Packets | Self::Namespaces)
    }
}

impl Bench {
    /// An error if an option is given that the measure does not know.
    fn options_fit(&self) -> Result<()> {
        let of_traffic = self.measure.is_of_traffic();
        let has_record = of_traffic || matches!(self.measure, Measure::Packets);
        if !of_traffic && self.effort.is_given() {
            bail!("--rounds and --seconds are options of traffic; others have theirs behind `--`");
        }
        let names_a_record = self.against.is_some() || self.json.is_some();
        if names_a_record && (!has_record || matches!(self.measure, Measure::Record)) {
            bail!("this measure takes no record: leave out --against and --json");
        }
        if of_traffic && !self.arguments.is_empty() {
            bail!("measures of traffic take no arguments behind `--`");
        }
        Ok(())
    }

    /// With a program that prints its own results.
    fn of_agent(&self, name: &str) -> Result<()> {
        prepare("bench")?;
        build_ebpf::run()?;
        let agent = agent::given_or_built(self.agent.as_deref())?;
        run_command(program(name, &agent).arg("--").args(&self.arguments))
    }
}

/// The path of a program of the tests.
pub(crate) fn built(name: &str, profile: Profile) -> Result<PathBuf> {
    let profile = profile.name();
    let mut command = workspace_cargo();
    // Of the whole workspace, for the sake of the agent's dependencies: the other programs have them with these features.
    command.args(["build", "--quiet", "--workspace", "--profile", profile, "--bin", name]);
    run_command(&mut command)?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let path = workspace_root().join(target).join(profile).join(name);
    fs::canonicalize(&path).with_context(|| path.display().to_string())
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

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    #[test]
    fn an_option_that_would_not_count_is_an_error() {
        let fits = |line: &str| {
            let words = ["bench"].into_iter().chain(line.split_whitespace());
            <Line as clap::Parser>::try_parse_from(words).unwrap().bench.options_fit().is_ok()
        };
        for line in ["flows --rounds 3 --json a", "record --seconds 1", "packets --against a"] {
            assert!(fits(line), "{line}");
        }
        for line in ["packets --rounds 3", "lookup --json a", "record --json a", "flows -- 7"] {
            assert!(!fits(line), "{line}");
        }
    }

    #[test]
    fn programs_get_the_built_agent() {
        let command = program("bench_lookup", Path::new("/t/release/proxyip"));
        let line = shell_line(&command);
        assert!(line.ends_with(" --release --package proxyip-tests --bin bench_lookup"), "{line}");
        let agent = ("PROXYIP_BIN".as_ref(), Some("/t/release/proxyip".as_ref()));
        assert!(command.get_envs().any(|variable| variable == agent));
    }
}
