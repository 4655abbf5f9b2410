//! Tools that come from crates.io and are built once, under target/tools.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::command::{cargo, isolated_cargo, probe, run, workspace_root};

/// A tool of the form `cargo install` takes.
pub(crate) struct Tool {
    pub(crate) package: &'static str,
    pub(crate) binary: &'static str,
    pub(crate) version: &'static str,
}

impl Tool {
    /// The path of the tool, which is built under target/tools first if it is not there.
    pub(crate) fn installed(&self) -> Result<PathBuf> {
        let path = workspace_root().join("target/tools/bin").join(self.binary);
        if !self.is_version(&probe(Command::new(&path).arg("--version")).unwrap_or_default()) {
            eprintln!("building {} {} (once, takes minutes)", self.package, self.version);
            run(&mut self.install_command()).with_context(|| {
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

    #[test]
    fn another_version_of_a_tool_is_replaced() {
        let tool = Tool { package: "typos-cli", binary: "typos", version: "1.52.0" };
        assert!(tool.is_version("typos-cli 1.52.0\n"));
        assert!(!tool.is_version("typos-cli 1.0.0\n"));
        assert!(!tool.is_version(""), "a tool that does not start is not installed");
    }
}
