//! `cargo xtask lint`: formatting, clippy, dependencies and spelling.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    build_ebpf,
    command::{cargo, isolated_cargo, probe, run as run_command, workspace_cargo, workspace_root},
    steps::Steps,
};

/// A lint tool that comes from crates.io.
struct Tool {
    package: &'static str,
    binary: &'static str,
    version: &'static str,
}

const CARGO_DENY: Tool = Tool { package: "cargo-deny", binary: "cargo-deny", version: "0.20.2" };
const TYPOS: Tool = Tool { package: "typos-cli", binary: "typos", version: "1.52.0" };

/// Runs all checks, whatever the outcome of the first ones.
pub(crate) fn run() -> Result<()> {
    // The agent's build script, which clippy runs, embeds the kernel programs.
    build_ebpf::run()?;

    let mut steps = Steps::default();
    steps.check("rustfmt", || run_command(workspace_cargo().args(["fmt", "--all", "--check"])));
    steps.check("clippy", || run_command(&mut clippy(&HOST_PACKAGES)));
    steps.check("clippy, kernel programs", || run_command(&mut clippy(&KERNEL_PACKAGE)));
    steps.check("cargo deny", || {
        run_command(workspace_command(CARGO_DENY.installed()?).args(DENY_ARGUMENTS))
    });
    steps.check("typos", || run_command(&mut workspace_command(TYPOS.installed()?)));
    steps.finish()
}

const HOST_PACKAGES: [&str; 4] = ["--workspace", "--exclude", "proxyip-ebpf", "--all-targets"];

/// The kernel programs compile for the host too, where every toolchain has clippy; but only with
/// `panic = "abort"`, which the profile brings.
const KERNEL_PACKAGE: [&str; 4] = ["--package", "proxyip-ebpf", "--profile", "bpf"];

/// Everything but `advisories`, whose database cannot be had from a package registry.
const DENY_ARGUMENTS: [&str; 5] = ["--all-features", "check", "bans", "licenses", "sources"];

fn clippy(packages: &[&str]) -> Command {
    let mut command = workspace_cargo();
    command.arg("clippy").args(packages).args(["--", "--deny", "warnings"]);
    command
}

fn workspace_command(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace_root());
    command
}

impl Tool {
    /// The path of the tool, which is built under target/tools first if it is not there.
    fn installed(&self) -> Result<PathBuf> {
        let path = workspace_root().join("target/tools/bin").join(self.binary);
        if !self.is_version(&probe(Command::new(&path).arg("--version")).unwrap_or_default()) {
            eprintln!("building {} {} (once, takes minutes)", self.package, self.version);
            run_command(&mut self.install_command()).with_context(|| {
                format!("cannot build {}; it needs crates.io or a mirror of it", self.package)
            })?;
        }
        Ok(path)
    }

    /// Whether the tool's answer to `--version` is the version wanted.
    fn is_version(&self, answer: &str) -> bool {
        answer.split_whitespace().last() == Some(self.version)
    }

    fn install_command(&self) -> Command {
        let tools = workspace_root().join("target/tools");
        let mut command = isolated_cargo(cargo());
        command
            .args(["install", "--quiet", "--force", "--no-track", "--locked"])
            .arg(format!("{}@{}", self.package, self.version))
            .args(["--bin", self.binary])
            .arg("--root")
            .arg(&tools)
            .arg("--target-dir")
            .arg(tools.join("build"));
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::shell_line;

    #[test]
    fn another_version_of_a_tool_is_replaced() {
        assert!(TYPOS.is_version(&format!("typos-cli {}\n", TYPOS.version)));
        assert!(!TYPOS.is_version("typos-cli 1.0.0\n"));
        assert!(!TYPOS.is_version(""), "a tool that does not start is not installed");
    }

    #[test]
    fn warnings_fail_the_lint() {
        let line = shell_line(&clippy(&HOST_PACKAGES));
        assert!(line.ends_with(" --all-targets -- --deny warnings"), "{line}");
    }

    #[test]
    fn dependencies_are_checked_without_anything_but_the_registry() {
        assert!(!DENY_ARGUMENTS.contains(&"advisories"));
    }
}
