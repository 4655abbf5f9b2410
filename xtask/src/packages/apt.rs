//! apt and dpkg: what is installed, and installing the rest.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{probe, run},
    host,
};

/// Installs those of `names` that are missing, without starting any service.
pub(crate) fn install(names: &[&str]) -> Result<()> {
    let missing = missing(names, &installed(names));
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    if probe(Command::new("apt-get").arg("--version")).is_none() {
        bail!("there is no apt-get here; install what Debian calls {}", missing.join(", "));
    }
    if !host::is_root() {
        bail!("run this as root: {line}");
    }
    eprintln!("installing {}", missing.join(", "));
    let _policy = NoServices::declare(Path::new("/usr/sbin/policy-rc.d"))?;
    // Package lists may be absent, or name versions that the archive no longer has.
    if missing.iter().all(|name| available(name)) && run(&mut apt_install(&missing)).is_ok() {
        return Ok(());
    }
    run(apt_get().args(["update", "--quiet"]))
        .and_then(|()| run(&mut apt_install(&missing)))
        .with_context(|| format!("apt could not do it; see what this says: {line}"))
}

/// Whether apt knows a version of the package that it could install.
pub(crate) fn available(package: &str) -> bool {
    let policy = probe(apt_environment(Command::new("apt-cache").args(["policy", package])));
    policy.is_some_and(|policy| has_candidate(&policy))
}

fn has_candidate(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate: "))
        .any(|version| version != "(none)")
}

/// What dpkg knows about `names`: a line `<package> <status>` for each one it has heard of.
fn installed(names: &[&str]) -> String {
    // dpkg-query fails if a name is unknown to it, and prints the others all the same.
    Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\\n"])
        .args(names)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

fn missing<'a>(names: &[&'a str], installed: &str) -> Vec<&'a str> {
    let is_installed = |name: &str| {
        installed.lines().any(|line| line.split_once(' ') == Some((name, "installed")))
    };
    names.iter().copied().filter(|name| !is_installed(name)).collect()
}

fn apt_environment(command: &mut Command) -> &mut Command {
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C")
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    apt_environment(&mut command).args(["-o", "DPkg::Lock::Timeout=300"]);
    command
}

fn apt_install(names: &[&str]) -> Command {
    let mut command = apt_get();
    // Never at the cost of a package that is there: rustc-web, for one, conflicts with rustc.
    command
        .args(["install", "--yes", "--quiet", "--no-remove", "--no-install-recommends"])
        .args(["-o", "Dpkg::Use-Pty=0"])
        .args(names);
    command
}

/// While this lives, packages being installed start no services.
/// <https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt>
struct NoServices {
    /// The policy to remove again; none if the machine already has one.
    made: Option<PathBuf>,
}

/// The whole file, so that one left by a killed xtask is recognized.
const POLICY: &str = "#!/bin/sh\n# Made by `cargo xtask` while it installs packages.\nexit 101\n";

impl NoServices {
    fn declare(path: &Path) -> Result<Self> {
        if path.exists() && !fs::read_to_string(path).is_ok_and(|policy| policy == POLICY) {
            return Ok(Self { made: None });
        }
        let guard = Self { made: Some(path.to_owned()) };
        fs::write(path, POLICY)
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(guard)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(path) = &self.made
            && let Err(error) = fs::remove_file(path)
        {
            eprintln!("cannot remove {}: {error}; do it by hand", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::shell_line;

    #[test]
    fn only_installed_packages_are_not_missing() {
        let dpkg = "nginx installed\nhaproxy config-files\nnginx-core not-installed\n";
        assert_eq!(missing(&["nginx", "haproxy", "curl"], dpkg), ["haproxy", "curl"]);
        assert_eq!(missing(&["nginx"], ""), ["nginx"]);
        assert!(missing(&["nginx"], dpkg).is_empty());
    }

    #[test]
    fn installing_neither_asks_nor_removes() {
        let line = shell_line(&apt_install(&["curl", "ruby"]));
        assert!(line.contains(" install --yes ") && line.contains(" --no-remove "), "{line}");
        assert!(
            line.contains(" --no-install-recommends ") && line.ends_with(" curl ruby"),
            "{line}"
        );
    }

    #[test]
    fn a_package_without_a_candidate_is_not_available() {
        assert!(has_candidate("curl:\n  Installed: (none)\n  Candidate: 7.88.1-10\n"));
        assert!(!has_candidate("curl:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(!has_candidate(""));
    }

    #[test]
    fn the_policy_against_services_goes_away_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy-rc.d");
        let guard = NoServices::declare(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        drop(guard);
        assert!(!path.exists());
    }

    #[test]
    fn a_policy_left_by_a_killed_xtask_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy-rc.d");
        fs::write(&path, POLICY).unwrap();
        drop(NoServices::declare(&path).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn a_policy_of_the_machine_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy-rc.d");
        fs::write(&path, "#!/bin/sh\nexit 0\n").unwrap();
        drop(NoServices::declare(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "#!/bin/sh\nexit 0\n");
    }
}
