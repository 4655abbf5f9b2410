//! The Debian packages that building and testing need, and installing the missing ones.

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

/// The packages that building needs, with their purpose. The compiler and the linker of the kernel programs are not
/// among them.
#[rustfmt::skip]
const BUILD: [(&str, &str); 2] = [
    ("gcc",                 "linker of every Rust program"),
    ("libc6-dev",           "start files and headers for gcc"),
];

/// What linting and fuzzing need besides.
#[rustfmt::skip]
const LINT: [(&str, &str); 2] = [
    ("g++",                 "compiler of libFuzzer"),
    ("python3-pip",         "getting tools"),
];

/// What the tests and the demo start.
#[rustfmt::skip]
const TESTS: [(&str, &str); 19] = [
    ("nginx",               "server, and load balancer that sends PROXY v1"),
    ("libnginx-mod-stream", "nginx as a TCP load balancer"),
    ("haproxy",             "load balancer that sends PROXY v1 and v2 with TLVs"),
    ("ruby",                "server on a blocking accept()"),
    ("openssh-server",      "server that speaks first"),
    ("openssh-client",      "client of that server, and its keys"),
    ("postgresql",          "server that forks for each connection"),
    ("postgresql-client",   "client of that server"),
    ("python3",             "server on an event loop"),
    ("mptcpize",            "servers that listen with MPTCP"),
    ("curl",                "HTTP and HTTPS client"),
    ("openssl",             "certificates, and a TLS client"),
    ("iproute2",            "network namespaces, links, routes and socket tables"),
    ("ethtool",             "switching checksum and segmentation offloads"),
    ("iptables",            "NAT before and behind proxyip, and rules with named sets"),
    ("nftables",            "rules with marks"),
    ("conntrack",           "what NAT remembers of a connection"),
    ("tcpdump",             "captures of what is on the wire"),
    ("bpftool",             "what is attached and pinned"),
];

/// What only those tests start that do not run in guests with other kernels: what they are about is not the kernel.
#[rustfmt::skip]
const HOST_TESTS: [(&str, &str); 15] = [
    ("chromium",                  "browser for the page"),
    ("chromium-driver",           "driving the browser"),
    ("fish",                      "shell that reads its completions"),
    ("fonts-dejavu-core",         "letters for the browser"),
    ("g++",                       "compiler of C++ programs that include proxyip.h"),
    ("man-db",                    "formatter of the manual pages"),
    ("netcat-openbsd",            "example of a lookup in a shell"),
    ("perl-base",                 "example of a lookup"),
    ("php-cli",                   "example of a lookup"),
    ("python3-pip",               "getting axe-core"),
    ("python3-prometheus-client", "a strict reader of metrics"),
    ("redis-server",              "lookups to compare with"),
    ("redis-tools",               "measuring those"),
    ("systemd",                   "journal"),
    ("zsh",                       "shell that reads its completions"),
];

/// What guests with other kernels are made with; the emulator itself is not installed.
#[rustfmt::skip]
const GUESTS: [(&str, &str); 6] = [
    ("cpio",                   "packing an initramfs"),
    ("debian-archive-keyring", "checking packages of other Debian releases"),
    ("e2fsprogs",              "making file systems"),
    ("kmod",                   "indexing kernel modules"),
    ("mmdebstrap",             "unpacking packages elsewhere than into this system"),
    ("xz-utils",               "unpacking kernel modules"),
];

/// Packages of Debian's minimal system. No other list has them, because they cannot be removed: util-linux (nsenter,
/// setpriv), procps and mount are absent only from containers.
const BASE: [&str; 3] = ["mount", "procps", "util-linux"];

/// Installs what is missing for building, the demo, and the tests that run in guests too.
pub(crate) fn install_for_demo() -> Result<()> {
    install(&of_guests()).context("the tests and the demo need real servers, clients and tools")
}

/// Installs what is missing for the other tests, the measurements and the pictures.
pub(crate) fn install_for_host_tests() -> Result<()> {
    let names: Vec<&str> = names(&HOST_TESTS).collect();
    install(&names).context("the tests need a real browser and journal, and other shells")
}

/// Installs what is missing for linting, and for building the fuzz targets.
pub(crate) fn install_for_lint() -> Result<()> {
    let names: Vec<&str> = names(&BUILD).chain(names(&LINT)).collect();
    install(&names).context("tools come from PyPI, and the fuzz targets have libFuzzer in them")
}

/// Installs all that is missing for any of these in one go, which is faster.
pub(crate) fn install_everything() -> Result<()> {
    let tables = [&BUILD[..], &LINT, &TESTS, &HOST_TESTS, &GUESTS];
    let mut names: Vec<_> = tables.into_iter().flatten().map(|(name, _)| *name).collect();
    names.extend(BASE);
    names.sort_unstable();
    names.dedup();
    install(&names).context("the gate needs all that each of its steps needs")
}

/// Installs what is missing for building, and for running the tests in guests that have what the
/// tests start.
pub(crate) fn install_for_guests() -> Result<()> {
    let names: Vec<&str> = names(&BUILD).chain(names(&GUESTS)).chain(BASE).collect();
    install(&names).context("guests are made from Debian packages")
}

/// What the tests in guests start; programs in C are compiled there.
pub(crate) fn of_guests() -> Vec<&'static str> {
    names(&BUILD).chain(of_tests()).collect()
}

/// What the tests start, the programs of Debian's minimal system included.
fn of_tests() -> Vec<&'static str> {
    names(&TESTS).chain(BASE).collect()
}

fn names(table: &'static [(&str, &str)]) -> impl Iterator<Item = &'static str> {
    table.iter().map(|(name, _)| *name)
}

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
    fn each_package_is_listed_once_with_its_purpose() {
        let tables = || BUILD.iter().chain(&TESTS).chain(&HOST_TESTS).chain(&GUESTS);
        let mut names: Vec<_> = tables().map(|(name, _)| *name).chain(BASE).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), tables().count() + BASE.len());
        assert!(tables().all(|(_, purpose)| !purpose.is_empty()));
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
