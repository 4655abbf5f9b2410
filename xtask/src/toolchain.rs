//! Choosing a compiler for the kernel programs.
//!
//! The BPF target has no precompiled `core`, so the compiler must come with the sources of the
//! standard library, and cargo must accept `-Z build-std`.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{cargo, isolated_cargo, probe},
    linker, packages,
};

/// Debian's own compiler; newer than stable Debian because Firefox and Chromium are built with it.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// What `rustc -vV` says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// For example `1.96.0` or `1.97.0-nightly`.
    pub(crate) release: String,
    /// Major and minor version of its LLVM, which decides the version of its bitcode.
    pub(crate) llvm: (u32, u32),
}

impl Version {
    /// Reads the output of `rustc -vV`.
    fn parse(text: &str) -> Result<Self> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .with_context(|| format!("`rustc -vV` does not say `{name}:`"))
        };
        let llvm = field("LLVM version")?;
        let llvm = numbers(llvm).with_context(|| format!("unknown LLVM version `{llvm}`"))?;
        Ok(Self { release: field("release")?.to_owned(), llvm })
    }

    /// Whether this compiler is at least `minimum` (`major.minor`, as in `rust-version`).
    fn at_least(&self, minimum: &str) -> bool {
        numbers(&self.release) >= numbers(minimum)
    }
}

/// The first two numbers of a dotted version.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Where a compiler came from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// A rustup toolchain of this name.
    Rustup(String),
    Debian,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rustup(name) => write!(formatter, "rustup {name}"),
            Self::Debian => formatter.write_str("Debian rustc-web"),
        }
    }
}

/// A compiler that can build the kernel programs.
#[derive(Clone, Debug)]
pub(crate) struct Compiler {
    origin: Origin,
    rustc: PathBuf,
    pub(crate) version: Version,
}

impl fmt::Display for Compiler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.version.llvm;
        write!(formatter, "rustc {} ({}), LLVM {major}.{minor}", self.version.release, self.origin)
    }
}

impl Compiler {
    /// Finds a compiler with sources, installing Debian's if there is none and that is possible.
    pub(crate) fn find() -> Result<Self> {
        if let Some(compiler) = Self::installed() {
            return Ok(compiler);
        }
        for nightly in nightlies() {
            add_sources(&nightly);
        }
        if let Some(compiler) = Self::installed() {
            return Ok(compiler);
        }
        packages::install(&DEBIAN_PACKAGES).context(
            "the kernel programs need a Rust compiler with the sources of the standard library: \
             either Debian's rustc-web and rust-web-src, or a nightly of rustup with its sources \
             (rustup toolchain install nightly --component rust-src)",
        )?;
        match Self::installed() {
            Some(compiler) => Ok(compiler),
            None => bail!(
                "{DEBIAN_RUSTC} is older than Rust {minimum} or has no sources although \
                 {packages} are installed; add the bookworm-security archive to apt's sources and \
                 run: apt-get update && apt-get install {packages}",
                minimum = env!("CARGO_PKG_RUST_VERSION"),
                packages = DEBIAN_PACKAGES.join(" "),
            ),
        }
    }

    fn installed() -> Option<Self> {
        nightlies()
            .into_iter()
            .filter_map(|name| Self::inspect(&rustup_rustc(&name)?, Origin::Rustup(name)))
            .chain(Self::inspect(Path::new(DEBIAN_RUSTC), Origin::Debian))
            .next()
    }

    /// The compiler at `rustc`, if it is new enough, has sources, and a linker for it exists.
    fn inspect(rustc: &Path, origin: Origin) -> Option<Self> {
        let ask = |argument: &[&str]| {
            probe(Command::new(rustc).args(argument).env_remove("LD_LIBRARY_PATH"))
        };
        let version = Version::parse(&ask(&["-vV"])?).ok()?;
        let sysroot = ask(&["--print", "sysroot"])?;
        let core = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs");
        (version.at_least(env!("CARGO_PKG_RUST_VERSION"))
            && linker::supports(version.llvm.0)
            && core.exists())
        .then(|| Self { origin, rustc: rustc.to_owned(), version })
    }

    /// A cargo command that compiles with this compiler and accepts `-Z build-std`.
    pub(crate) fn cargo(&self) -> Command {
        // How cargo builds the standard library follows the sources it was released with, so a
        // toolchain's own cargo comes first.
        let own = self.rustc.with_file_name("cargo");
        let mut command = match &self.origin {
            Origin::Rustup(_) if own.exists() => isolated_cargo(own),
            Origin::Rustup(_) | Origin::Debian => isolated_cargo(cargo()),
        };
        command.env("RUSTC", &self.rustc);
        if self.origin == Origin::Debian {
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }
}

/// Names of rustup's nightly toolchains, plain `nightly` before dated ones.
fn nightlies() -> Vec<String> {
    let list = probe(Command::new("rustup").args(["toolchain", "list", "--quiet"]));
    nightly_names(&list.unwrap_or_default())
}

fn nightly_names(list: &str) -> Vec<String> {
    let mut names: Vec<String> = list
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"))
        .map(str::to_owned)
        .collect();
    let dated = |name: &str| name["nightly".len()..].starts_with("-2");
    // Newest date first.
    names.sort_by(|a, b| dated(a).cmp(&dated(b)).then(b.cmp(a)));
    names
}

/// The real compiler behind rustup's proxy.
fn rustup_rustc(toolchain: &str) -> Option<PathBuf> {
    let path = probe(Command::new("rustup").args(["which", "rustc", "--toolchain", toolchain]))?;
    Some(PathBuf::from(path.trim()))
}

/// Asks rustup for the sources. Failing is ordinary (no network), so the answer is what
/// [`Compiler::installed`] finds afterwards.
fn add_sources(toolchain: &str) {
    eprintln!("asking rustup for the sources of {toolchain}");
    let _ = Command::new("timeout")
        .args(["20", "rustup", "component", "add", "rust-src", "--toolchain", toolchain])
        .env("RUSTUP_MAX_RETRIES", "0")
        .status();
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\n\
        binary: rustc\n\
        commit-hash: ac68faa20c58cbccd01ee7208bf3b6e93a7d7f96\n\
        commit-date: 2026-05-25\n\
        host: x86_64-unknown-linux-gnu\n\
        release: 1.96.0\n\
        LLVM version: 22.1.8\n";

    #[test]
    fn reads_what_rustc_says_about_itself() {
        let version = Version::parse(DEBIAN).unwrap();
        assert_eq!(version, Version { release: "1.96.0".to_owned(), llvm: (22, 1) });

        let nightly = DEBIAN.replace("1.96.0", "1.97.0-nightly");
        assert_eq!(Version::parse(&nightly).unwrap().release, "1.97.0-nightly");
    }

    #[test]
    fn names_the_line_that_rustc_left_out() {
        let error = Version::parse("release: 1.96.0\n").unwrap_err();
        assert!(error.to_string().contains("LLVM version:"), "{error}");
        let error = Version::parse("release: 1.96.0\nLLVM version: unknown\n").unwrap_err();
        assert!(error.to_string().contains("`unknown`"), "{error}");
    }

    #[test]
    fn compares_versions_as_numbers() {
        let version = Version::parse(DEBIAN).unwrap();
        assert!(version.at_least("1.96") && version.at_least("1.95") && version.at_least("1.9"));
        assert!(!version.at_least("1.97") && !version.at_least("1.100"));
    }

    #[test]
    fn prefers_the_undated_nightly_then_the_newest() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default)\n\
            nightly-2026-01-01-x86_64-unknown-linux-gnu\n\
            nightly-x86_64-unknown-linux-gnu\n\
            nightly-2026-05-20-x86_64-unknown-linux-gnu\n\
            1.95.0-x86_64-unknown-linux-gnu\n";
        assert_eq!(
            nightly_names(list),
            [
                "nightly-x86_64-unknown-linux-gnu",
                "nightly-2026-05-20-x86_64-unknown-linux-gnu",
                "nightly-2026-01-01-x86_64-unknown-linux-gnu",
            ]
        );
        assert!(nightly_names("no installed toolchains\n").is_empty());
    }

    #[test]
    fn debians_compiler_is_run_by_the_ordinary_cargo() {
        let compiler = Compiler {
            origin: Origin::Debian,
            rustc: DEBIAN_RUSTC.into(),
            version: Version::parse(DEBIAN).unwrap(),
        };
        let command = compiler.cargo();
        assert_eq!(command.get_program(), cargo());
        let set: Vec<_> = command.get_envs().filter(|(_, value)| value.is_some()).collect();
        assert!(set.contains(&("RUSTC".as_ref(), Some(DEBIAN_RUSTC.as_ref()))));
        assert!(set.contains(&("RUSTC_BOOTSTRAP".as_ref(), Some("1".as_ref()))));
        assert_eq!(compiler.to_string(), "rustc 1.96.0 (Debian rustc-web), LLVM 22.1");
    }
}
