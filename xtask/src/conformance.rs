//! `cargo xtask conformance`: what proxyip and others make of the same headers.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{
    agent, build_ebpf,
    command::{run as run_command, workspace_cargo},
    host,
};

/// Builds everything and prints the page.
pub(crate) fn run() -> Result<()> {
    host::prepare("conformance")?;
    build_ebpf::run()?;
    run_command(&mut conformance(&agent::build()?))
}

fn conformance(agent: &Path) -> Command {
    let mut command = workspace_cargo();
    command
        .args(["run", "--quiet", "--package", "proxyip-tests", "--bin", "conformance", "--"])
        .arg(agent);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::shell_line;

    #[test]
    fn the_page_tells_of_the_agent_that_was_built() {
        let line = shell_line(&conformance(Path::new("/t/release/proxyip")));
        assert!(line.ends_with(" --bin conformance -- /t/release/proxyip"), "{line}");
    }
}
