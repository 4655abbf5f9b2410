//! `cargo xtask test`: unit tests, then end-to-end tests with real servers and load balancers.

use std::{num::NonZero, path::Path, process::Command, thread};

use anyhow::{Context as _, Result, bail};

use crate::{
    axe, build_ebpf,
    command::run as run_command,
    host, packages,
    programs::{Profile, Programs, TestProgram},
    steps::{self, Steps},
};

/// Runs all tests, or with filters only the end-to-end tests that match one.
pub(crate) fn run(filters: &[String]) -> Result<()> {
    steps::run(|steps| {
        steps.need("packages", || {
            host::prepare("test")?;
            packages::install_for_host_tests()
        })?;
        steps.need("kernel programs", build_ebpf::run)?;
        let programs = steps.need("building", || Programs::build(Profile::Ci))?;
        if filters.is_empty() {
            unit_tests(steps, &programs);
        }
        end_to_end_tests(steps, &programs, filters)
    })
}

/// Runs the unit tests of all packages.
pub(crate) fn unit_tests(steps: &mut Steps, programs: &Programs) {
    steps.check("unit tests", || {
        let failed: Vec<_> = programs
            .unit_tests()
            .filter(|program| run_command(&mut program.command()).is_err())
            .map(|program| &*program.name)
            .collect();
        if !failed.is_empty() {
            bail!("those of {}", failed.join(", "));
        }
        Ok(())
    });
}

/// Runs the tests that start the agent.
pub(crate) fn end_to_end_tests(
    steps: &mut Steps,
    programs: &Programs,
    filters: &[String],
) -> Result<()> {
    let axe = axe::installed()?;
    let mut matching = 0;
    for program in programs.end_to_end_tests() {
        let count = program.count(filters).context("the end-to-end tests do not start")?;
        matching += count;
        if count > 0 {
            steps.check(step_name(program, programs.profile), || {
                run_command(&mut end_to_end(program, &programs.agent, &axe, filters))
            });
        }
    }
    // A filter with a slip in it, or a test target that got lost, must not look like success.
    if matching == 0 {
        bail!("no end-to-end test matches; `cargo test -p proxyip-tests -- --list` names them");
    }
    Ok(())
}

/// Has agents killed at each step of a start and a reload. The tests try some of the steps otherwise.
pub(crate) fn kills_at_each_step(programs: &Programs) -> Result<()> {
    let mut command = programs.end_to_end("e2e")?.command();
    command.env("PROXYIP_BIN", &programs.agent).env("PROXYIP_TEST_ALL_STEPS", "1");
    run_command(command.arg("killed::"))
}

fn step_name(program: &TestProgram, profile: Profile) -> &'static str {
    match (&*program.name, profile) {
        ("conformance", Profile::Ci) => "conformance",
        ("e2e", Profile::Ci) => "end-to-end tests",
        ("packets", Profile::Ci) => "packet table",
        ("conformance", Profile::Release) => "conformance, as released",
        ("e2e", Profile::Release) => "end-to-end tests, as released",
        ("packets", Profile::Release) => "packet table, as released",
        _ => "other tests",
    }
}

fn end_to_end(program: &TestProgram, agent: &Path, axe: &Path, filters: &[String]) -> Command {
    let mut command = program.command();
    command.env("PROXYIP_BIN", agent).env("PROXYIP_AXE", axe);
    command.arg(format!("--test-threads={}", threads(program))).args(filters);
    command
}

/// The most end-to-end tests at a time. Each test has its own namespaces and its own agent.
const MOST: usize = 16;

/// End-to-end tests mostly wait. The tests that keep processors busy run alone.
fn threads(program: &TestProgram) -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    if program.name == "e2e" { (3 * processors).min(MOST) } else { processors }
}
