//! axe-core, which finds what shuts people out of a page. It comes from `PyPI`, inside of a package that drives it.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{command::run, directory::remove, tools};

const PACKAGE: &str = "axe-playwright-python";
const VERSION: &str = "0.1.8";

/// The path of `axe.min.js`, which is fetched first if it is not there.
pub(crate) fn installed() -> Result<PathBuf> {
    let directory = directory();
    let path = directory.join("axe_playwright_python/axe.min.js");
    if !path.is_file() {
        remove(&directory)?;
        eprintln!("fetching {PACKAGE} {VERSION} (once)");
        run(&mut install_command())
            .with_context(|| format!("cannot fetch {PACKAGE}; it needs PyPI or a mirror of it"))?;
    }
    if !path.is_file() {
        bail!("{PACKAGE} {VERSION} does not have {}", path.display());
    }
    Ok(path)
}

/// Another version is in another directory.
fn directory() -> PathBuf {
    tools::directory().join(format!("{PACKAGE}-{VERSION}"))
}

fn install_command() -> Command {
    let mut command = Command::new("python3");
    command
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        // Python has nothing to do with it: the file is all that is wanted.
        .args([
            "--no-deps",
            "--no-compile",
            "--only-binary",
            ":all:",
            "--root-user-action",
            "ignore",
        ])
        .arg("--target")
        .arg(directory())
        .arg(format!("{PACKAGE}=={VERSION}"));
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::shell_line;

    #[test]
    fn installs_into_a_directory_of_its_own() {
        let line = shell_line(&install_command());
        let expected = format!(
            " --target {} {PACKAGE}=={VERSION}",
            tools::directory().join(format!("{PACKAGE}-{VERSION}")).display()
        );
        assert!(line.ends_with(&expected), "{line}");
        assert!(line.contains(" --no-deps "), "{line}");
    }
}
