//! `cargo xtask test`: unit tests, then end-to-end tests with real servers and load balancers.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    agent, axe, build_ebpf,
    command::{output, run as run_command, workspace_cargo},
    host, packages,
    steps::Steps,
};

/// Runs all tests, or with filters only the end-to-end tests that match one.
pub(crate) fn run(filters: &[String]) -> Result<()> {
    host::prepare("test")?;
    packages::install_for_host_tests()?;
    build_ebpf::run()?;
    let agent = agent::build()?;
    let axe = axe::installed()?;

    let mut steps = Steps::default();
    if filters.is_empty() {
        steps.check("unit tests", || run_command(&mut unit_tests()));
    }
    steps.check("end-to-end tests", || {
        // A filter with a slip in it, or a test target that got lost, must not look like success.
        let list = output(end_to_end_tests(&agent, &axe, filters).arg("--list"))
            .context("the end-to-end tests do not build")?;
        if count_tests(&list) == 0 {
            bail!("no end-to-end test matches; `cargo test -p proxyip-tests -- --list` names them");
        }
        run_command(&mut end_to_end_tests(&agent, &axe, filters))
    });
    steps.finish()
}

fn unit_tests() -> Command {
    let mut command = workspace_cargo();
    command.args(["test", "--no-fail-fast"]).args([
        "--package",
        "proxyip-common",
        "--package",
        "proxyip-ebpf",
        "--package",
        "proxyip-user",
        "--package",
        "xtask",
    ]);
    command
}

/// The end-to-end tests, two at a time: each has namespaces of its own, and mostly waits.
fn end_to_end_tests(agent: &Path, axe: &Path, filters: &[String]) -> Command {
    let mut command = workspace_cargo();
    command
        .env("PROXYIP_BIN", agent)
        .env("PROXYIP_AXE", axe)
        .args(["test", "--no-fail-fast", "--package", "proxyip-tests", "--tests"])
        .args(["--", "--test-threads=2"])
        .args(filters);
    command
}

/// Counts what `--list` prints, one `<name>: test` to a line.
fn count_tests(list: &str) -> usize {
    list.lines().filter(|line| line.ends_with(": test")).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::shell_line;

    #[test]
    fn end_to_end_tests_run_with_the_built_agent() {
        let (agent, axe) = (Path::new("/t/release/proxyip"), Path::new("/t/axe.min.js"));
        let command = end_to_end_tests(agent, axe, &["restart".to_owned()]);
        let line = shell_line(&command);
        assert!(line.ends_with(" --tests -- --test-threads=2 restart"), "{line}");
        for (name, path) in [("PROXYIP_BIN", agent), ("PROXYIP_AXE", axe)] {
            let expected = (name.as_ref(), Some(path.as_os_str()));
            assert!(command.get_envs().any(|variable| variable == expected), "{name}");
        }
    }

    #[test]
    fn counts_tests_but_no_benchmarks() {
        let list = "a::restart_keeps_flows: test\nspeed: benchmark\n\n1 test, 1 benchmark\n";
        assert_eq!(count_tests(list), 1);
        assert_eq!(count_tests("0 tests, 0 benchmarks\n"), 0);
    }
}
