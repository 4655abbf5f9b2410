//! The agent and the test programs, built by one cargo command with one profile.
//!
//! Apart from each other they would have other features of the same dependencies, and those would be built twice.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command::{output, shell_line, workspace_cargo};

/// How programs are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As the gate builds everything.
    Ci,
    /// As the agent is released. Only the programs that run the agent are built.
    Release,
}

impl Profile {
    /// Its name in `Cargo.toml`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ci => "ci",
            Self::Release => "release",
        }
    }
}

/// What was built.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) profile: Profile,
    /// The agent, with the kernel programs in it.
    pub(crate) agent: PathBuf,
    /// What makes trouble for it.
    pub(crate) chaos: PathBuf,
    /// What lets namespaces come and go.
    pub(crate) churn: PathBuf,
    /// What shows it at work.
    pub(crate) demo: PathBuf,
    /// What measures the kernel programs.
    pub(crate) bench_packets: PathBuf,
    /// What measures traffic, beside rivals.
    pub(crate) bench_traffic: PathBuf,
    tests: Vec<TestProgram>,
}

/// A program with tests in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TestProgram {
    /// The name of cargo's target.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// The directory of its package, where cargo would start it.
    package: PathBuf,
    kind: Kind,
}

/// What the tests of a program need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A library or program: nothing.
    Unit,
    /// A separate test target: the agent, root, and network namespaces.
    EndToEnd,
}

impl Programs {
    /// Builds them.
    pub(crate) fn build(profile: Profile) -> Result<Self> {
        let messages = output(&mut build_command(profile)).context("the programs do not build")?;
        Self::parse(profile, &messages)
    }

    /// Finds the programs in cargo's messages (one JSON object to a line).
    fn parse(profile: Profile, messages: &str) -> Result<Self> {
        let (mut agent, mut chaos, mut churn, mut demo) = (None, None, None, None);
        let (mut bench_packets, mut bench_traffic) = (None, None);
        let mut tests = Vec::new();
        for line in messages.lines() {
            let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
            let Some(path) = message["executable"].as_str().map(PathBuf::from) else { continue };
            let name = message["target"]["name"].as_str().context("a target without a name")?;
            if message["profile"]["test"] != true {
                match name {
                    "proxyip" => agent = Some(path),
                    "chaos" => chaos = Some(path),
                    "churn" => churn = Some(path),
                    "demo" => demo = Some(path),
                    "bench_packets" => bench_packets = Some(path),
                    "bench_traffic" => bench_traffic = Some(path),
                    _ => {}
                }
                continue;
            }
            let manifest = message["manifest_path"].as_str().context("a package without a path")?;
            let package = Path::new(manifest).parent().context("a manifest without a directory")?;
            let is_target = message["target"]["kind"][0] == "test";
            let kind = if is_target { Kind::EndToEnd } else { Kind::Unit };
            tests.push(TestProgram {
                name: name.to_owned(),
                path,
                package: package.to_owned(),
                kind,
            });
        }
        let agent = agent.context("cargo built the agent but did not say where it put it")?;
        let chaos = chaos.context("cargo built `chaos` but did not say where it put it")?;
        let churn = churn.context("cargo built `churn` but did not say where it put it")?;
        let demo = demo.context("cargo built `demo` but did not say where it put it")?;
        let bench_packets =
            bench_packets.context("cargo built `bench_packets` but did not say where it put it")?;
        let bench_traffic =
            bench_traffic.context("cargo built `bench_traffic` but did not say where it put it")?;
        Ok(Self { profile, agent, chaos, churn, demo, bench_packets, bench_traffic, tests })
    }

    /// Those with unit tests.
    pub(crate) fn unit_tests(&self) -> impl Iterator<Item = &TestProgram> {
        self.tests.iter().filter(|program| program.kind == Kind::Unit)
    }

    /// The programs that run the agent.
    pub(crate) fn end_to_end_tests(&self) -> impl Iterator<Item = &TestProgram> {
        self.tests.iter().filter(|program| program.kind == Kind::EndToEnd)
    }

    /// The program with this name that runs the agent.
    pub(crate) fn end_to_end(&self, name: &str) -> Result<&TestProgram> {
        let mut programs = self.end_to_end_tests();
        programs.find(|program| program.name == name).with_context(|| format!("no tests `{name}`"))
    }
}

impl TestProgram {
    /// Starts it as cargo would.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(&self.package).env("CARGO_MANIFEST_DIR", &self.package);
        command
    }

    /// How many of its tests match one of `filters`; all do if there is none.
    pub(crate) fn count(&self, filters: &[String]) -> Result<usize> {
        let mut command = self.command();
        let list = output(command.arg("--list").args(filters))?;
        if !list.contains(" tests, ") && !list.contains(" test, ") {
            bail!("{} printed no list of tests", shell_line(&command));
        }
        Ok(count_tests(&list))
    }
}

fn build_command(profile: Profile) -> Command {
    let mut command = workspace_cargo();
    command.args(["build", "--workspace", "--profile", profile.name()]);
    command.args(["--bin", "proxyip", "--bin", "chaos", "--bin", "churn", "--bin", "demo"]);
    command.args(["--bin", "bench_packets", "--bin", "bench_traffic"]);
    match profile {
        Profile::Ci => command.arg("--tests"),
        Profile::Release => command.args(["--test", "*"]),
    };
    command.args(["--message-format", "json-render-diagnostics"]);
    command
}

/// Counts what `--list` prints, one `<name>: test` to a line.
fn count_tests(list: &str) -> usize {
    list.lines().filter(|line| line.ends_with(": test")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(target: &str, kind: &str, test: bool) -> String {
        format!(
            "{{\"manifest_path\":\"/w/tests/Cargo.toml\",\
             \"target\":{{\"name\":\"{target}\",\"kind\":[\"{kind}\"]}},\
             \"profile\":{{\"test\":{test}}},\"executable\":\"/t/{kind}/{target}\"}}\n"
        )
    }

    #[test]
    fn the_agent_and_the_tests_are_found_among_cargos_messages() {
        let messages = [
            "{\"reason\":\"compiler-artifact\",\"executable\":null}\n".to_owned(),
            message("proxyip", "bin", true),
            message("proxyip", "bin", false),
            message("chaos", "bin", false),
            message("churn", "bin", false),
            message("demo", "bin", false),
            message("bench_packets", "bin", false),
            message("bench_traffic", "bin", false),
            message("e2e", "test", true),
            "{\"reason\":\"build-finished\",\"success\":true}\n".to_owned(),
        ];
        let programs = Programs::parse(Profile::Ci, &messages.concat()).unwrap();
        assert_eq!(programs.agent, Path::new("/t/bin/proxyip"));
        assert_eq!(programs.chaos, Path::new("/t/bin/chaos"));
        assert_eq!(programs.churn, Path::new("/t/bin/churn"));
        assert_eq!(programs.demo, Path::new("/t/bin/demo"));
        let unit: Vec<_> = programs.unit_tests().map(|program| &*program.name).collect();
        assert_eq!(unit, ["proxyip"]);
        let e2e = programs.end_to_end("e2e").unwrap();
        assert_eq!((&*e2e.path, &*e2e.package), (Path::new("/t/test/e2e"), Path::new("/w/tests")));
        assert!(programs.end_to_end("packets").is_err());
        assert!(Programs::parse(Profile::Ci, &messages[1]).is_err(), "no agent");
    }

    #[test]
    fn counts_tests_but_no_benchmarks() {
        let list = "a::restart_keeps_flows: test\nspeed: benchmark\n\n1 test, 1 benchmark\n";
        assert_eq!(count_tests(list), 1);
        assert_eq!(count_tests("0 tests, 0 benchmarks\n"), 0);
    }
}
