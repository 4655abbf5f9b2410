//! axe-core, which finds what shuts people out of a page. It comes from `PyPI`, inside of a package that drives it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{output, run},
    directory::remove,
    tools,
};

const PACKAGE: &str = "axe-playwright-python";
const VERSION: &str = "0.1.8";
/// SHA-256 of `axe.min.js` in that version: the browser of the tests runs it.
const DIGEST: &str = "84494fec757e4710dc751c8d7a636e457f4532f08f85c86dc9070133fbff53bc";

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
    verify(&path, DIGEST).with_context(|| {
        format!(
            "{} is not used; remove {} to have it fetched again, and if that does not help, ask \
             where pip gets {PACKAGE} {VERSION} from",
            path.display(),
            directory.display()
        )
    })?;
    Ok(path)
}

/// Makes sure that the file has this SHA-256, in hexadecimal digits.
fn verify(path: &Path, expected: &str) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let said = output(Command::new("sha256sum").stdin(file))?;
    let digest = said.split_whitespace().next().unwrap_or_default();
    if digest != expected {
        bail!("its SHA-256 is {digest}, and that of the file wanted is {expected}");
    }
    Ok(())
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

    #[test]
    fn another_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("axe.min.js");
        std::fs::write(&path, "abc").unwrap();
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        verify(&path, abc).unwrap();
        let error = verify(&path, DIGEST).unwrap_err().to_string();
        assert!(error.contains(abc) && error.contains(DIGEST), "{error}");
        assert!(verify(&directory.path().join("nothing"), abc).is_err());
    }
}
