//! Tools that are fetched or built once, under target/tools.

use std::{env::consts::ARCH, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::command::{cargo, isolated_cargo, probe, run, workspace_root};
use crate::directory::remove;
use crate::pypi::PackagedFile;

/// A tool of the form `cargo install` takes.
pub(crate) struct Tool {
    pub(crate) package: &'static str,
    pub(crate) binary: &'static str,
    pub(crate) version: &'static str,
    /// The same program, built for `x86_64` by somebody else.
    pub(crate) prebuilt: PackagedFile,
}

impl Tool {
    /// The path of the tool. Fetches or builds it under target/tools first if it is not there.
    pub(crate) fn installed(&self) -> Result<PathBuf> {
        if ARCH == "x86_64" { self.prebuilt.fetched() } else { self.built() }
    }

    fn built(&self) -> Result<PathBuf> {
        let path = workspace_root().join("target/tools/bin").join(self.binary);
        if !self.is_version(&probe(Command::new(&path).arg("--version")).unwrap_or_default()) {
            eprintln!("building {} {} (once, takes minutes)", self.package, self.version);
            install(&mut self.install_command()).with_context(|| {
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
        let mut command = install_command(self.package, self.version);
        command.args(["--bin", self.binary]);
        command
    }
}

/// The directory of the tools; the programs are in its `bin`.
pub(crate) fn directory() -> PathBuf {
    workspace_root().join("target/tools")
}

/// Where cargo builds a tool.
fn build_directory() -> PathBuf {
    directory().join("build")
}

/// The command that builds a version of a package of crates.io into [`directory`].
pub(crate) fn install_command(package: &str, version: &str) -> Command {
    let mut command = isolated_cargo(cargo());
    command
        .args(["install", "--quiet", "--force", "--no-track", "--locked"])
        .arg(format!("{package}@{version}"))
        .arg("--root")
        .arg(directory())
        .arg("--target-dir")
        .arg(build_directory());
    command
}

/// Runs an [`install_command`], and removes what it leaves behind: hundreds of megabytes that are of no use to the next
/// tool.
pub(crate) fn install(command: &mut Command) -> Result<()> {
    let installed = run(command);
    remove(&build_directory())?;
    installed
}

/// The path of a program that cannot say its version: the name of its file does. Builds it first if it is not there.
pub(crate) fn named_by_version(package: &str, version: &str) -> Result<PathBuf> {
    let programs = directory().join("bin");
    let path = programs.join(format!("{package}-{version}"));
    if !path.exists() {
        eprintln!("building {package} {version} (once, takes a minute)");
        install(&mut install_command(package, version)).with_context(|| {
            format!("cannot build {package}; it needs crates.io or a mirror of it")
        })?;
        fs::rename(programs.join(package), &path).with_context(|| path.display().to_string())?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::shell_line;

    const TYPOS: Tool = Tool {
        package: "typos-cli",
        binary: "typos",
        version: "1.52.0",
        prebuilt: PackagedFile {
            package: "typos",
            version: "1.52.0",
            path: "bin/typos",
            digest: "",
        },
    };

    #[test]
    fn another_version_of_a_tool_is_replaced() {
        assert!(TYPOS.is_version("typos-cli 1.52.0\n"));
        assert!(!TYPOS.is_version("typos-cli 1.0.0\n"));
        assert!(!TYPOS.is_version(""), "a tool that does not start is not installed");
    }

    #[test]
    fn installs_outside_the_home_directory() {
        let (line, tools) = (shell_line(&TYPOS.install_command()), directory());
        let expected = format!(
            " install --quiet --force --no-track --locked typos-cli@1.52.0 --root {tools} \
             --target-dir {tools}/build --bin typos",
            tools = tools.display()
        );
        assert!(line.ends_with(&expected), "{line}");
    }

    #[test]
    fn nothing_is_left_of_a_build() {
        let directory = tempfile::tempdir().unwrap();
        let build = directory.path().join("build");
        fs::create_dir_all(build.join("release/deps")).unwrap();
        remove(&build).unwrap();
        assert!(!build.exists());
        remove(&build).unwrap();
    }
}
