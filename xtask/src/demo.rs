//! `cargo xtask demo`: proxyip at work between real servers and load balancers.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{
    agent, build_ebpf,
    command::{run as run_command, workspace_cargo},
    host,
    programs::Programs,
};

/// Builds everything and runs the demo.
pub(crate) fn run() -> Result<()> {
    host::prepare("demo")?;
    build_ebpf::run()?;
    run_command(&mut demo(&agent::build()?))
}

/// Runs the demo once everything is built.
pub(crate) fn show(programs: &Programs) -> Result<()> {
    run_command(Command::new(&programs.demo).arg(&programs.agent))
}

// The demo shares the fixtures of the end-to-end tests. It is started and not linked, so that the
// other verbs need not wait for those to build.
fn demo(agent: &Path) -> Command {
    let mut command = workspace_cargo();
    command.args(["run", "--package", "proxyip-tests", "--bin", "demo", "--"]).arg(agent);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::shell_line;

    #[test]
    fn the_demo_gets_the_agent_it_shows() {
        let line = shell_line(&demo(Path::new("/t/release/proxyip")));
        assert!(line.ends_with(" --bin demo -- /t/release/proxyip"), "{line}");
    }
}
