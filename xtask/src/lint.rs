//! `cargo xtask lint`: formatting, rooms, documents, clippy, dependencies and spelling.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    build_ebpf,
    command::{run as run_command, workspace_cargo, workspace_root},
    documents, fuzz, packages, rooms,
    steps::Steps,
    tools::Tool,
};

const CARGO_DENY: Tool = Tool { package: "cargo-deny", binary: "cargo-deny", version: "0.20.2" };
const TYPOS: Tool = Tool { package: "typos-cli", binary: "typos", version: "1.52.0" };

/// Runs all checks, whatever the outcome of the first ones.
pub(crate) fn run() -> Result<()> {
    // The agent's build script, which clippy runs, embeds the kernel programs.
    build_ebpf::run()?;
    packages::install_for_fuzzing()?;

    let mut steps = Steps::default();
    steps.check("rustfmt", || run_command(workspace_cargo().args(["fmt", "--all", "--check"])));
    steps.check("rustfmt, fuzz targets", || run_command(fuzz::cargo("fmt").arg("--check")));
    steps.check("rooms", rooms::check);
    steps.check("documents", documents::check);
    steps.check("clippy", || run_command(&mut clippy()));
    steps.check("clippy, fuzz targets", || {
        run_command(fuzz::cargo("clippy").args(["--all-targets", "--", "--deny", "warnings"]))
    });
    steps.check("cargo deny", || {
        run_command(workspace_command(CARGO_DENY.installed()?).args(DENY_ARGUMENTS))
    });
    steps.check("cargo deny, fuzz targets", || {
        let mut command = workspace_command(CARGO_DENY.installed()?);
        run_command(command.args(["--manifest-path", fuzz::MANIFEST]).args(DENY_ARGUMENTS))
    });
    steps.check("typos", || run_command(&mut workspace_command(TYPOS.installed()?)));
    steps.finish()
}

/// Everything but `advisories`, whose database cannot be had from a package registry.
const DENY_ARGUMENTS: [&str; 5] = ["--all-features", "check", "bans", "licenses", "sources"];

/// The kernel programs compile for the host too, where every toolchain has clippy.
fn clippy() -> Command {
    let mut command = workspace_cargo();
    command.args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]);
    command
}

fn workspace_command(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace_root());
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::shell_line;

    #[test]
    fn warnings_fail_the_lint() {
        let line = shell_line(&clippy());
        assert!(line.ends_with(" --all-targets -- --deny warnings"), "{line}");
    }

    #[test]
    fn dependencies_are_checked_without_anything_but_the_registry() {
        assert!(!DENY_ARGUMENTS.contains(&"advisories"));
    }
}
