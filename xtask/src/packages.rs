//! The Debian packages that building and testing need, and installing the missing ones.

use anyhow::{Context as _, Result};

pub(crate) use apt::{available, install};

mod apt;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_package_is_listed_once_with_its_purpose() {
        let tables = || BUILD.iter().chain(&TESTS).chain(&HOST_TESTS).chain(&GUESTS);
        let mut names: Vec<_> = tables().map(|(name, _)| *name).chain(BASE).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), tables().count() + BASE.len());
        assert!(tables().all(|(_, purpose)| !purpose.is_empty()));
    }
}
