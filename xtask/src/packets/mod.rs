//! `cargo xtask bench packets`: what the kernel programs cost for each class of packets, on this host in nanoseconds, or
//! on other kernels in instructions.

mod record;
mod table;

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    build_ebpf,
    command::{output, workspace_cargo, workspace_root},
    host, packages,
    vm::{Guests, Kernel},
};
use record::{Record, Times};

/// How much a guest measures. Only the guest's own interrupts make rounds differ.
const EFFORT_OF_GUESTS: &str = "--rounds 5 --repeat 300";

/// What is measured where
#[derive(Args)]
pub(crate) struct Options {
    /// `packets`: count instructions on these kernels, instead of taking times on this host
    #[arg(long, value_enum, value_name = "VERSION")]
    kernel: Vec<Kernel>,
    /// `packets`: compare with this record, and fail if a class needs a tenth more instructions
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// `packets`: write what was measured into this record; what it has of others stays
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures, prints a table, and compares.
pub(crate) fn run(options: &Options, arguments: &[OsString]) -> Result<()> {
    host::prepare("bench")?;
    let guests = if options.kernel.is_empty() {
        None
    } else {
        packages::install_for_guests()?;
        Some(Guests::prepare(&options.kernel)?)
    };
    build_ebpf::run()?;
    let program = build()?;
    let mut measured = Record::default();
    match guests {
        Some(guests) => count(&guests, &program, &mut measured)?,
        None => measured.times = Some(time(&program, arguments)?),
    }
    let before = options.against.as_deref().map(Record::read).transpose()?;
    print!("{}", table::of(&measured, before.as_ref().unwrap_or(&Record::default())));
    if let Some(path) = &options.json {
        Record::update(path, &measured)?;
    }
    before.map_or(Ok(()), |before| measured.compare(&before))
}

/// The table of what the record in the repository has, for a document.
pub(crate) fn block(root: &Path) -> Result<String> {
    Ok(table::of(&Record::read(&root.join(record::PLACE))?, &Record::default()))
}

/// Counts instructions in guests, and compares them with the record in the repository.
pub(crate) fn check(guests: &Guests, program: &Path) -> Result<()> {
    let mut measured = Record::default();
    count(guests, program, &mut measured)?;
    measured.compare(&Record::read(&workspace_root().join(record::PLACE))?)
}

fn count(guests: &Guests, program: &Path, measured: &mut Record) -> Result<()> {
    for counted in guests.count(program, EFFORT_OF_GUESTS)? {
        measured.add_counts(&counted)?;
    }
    Ok(())
}

fn time(program: &Path, arguments: &[OsString]) -> Result<Times> {
    let lines = output(Command::new(program).args(arguments))?;
    Times::parse(&lines)
}

/// Builds the program that measures. Its optimization does not matter: the kernel looks at the clock.
fn build() -> Result<PathBuf> {
    let mut command = workspace_cargo();
    command.args(["build", "--quiet", "--profile", "ci", "--package", "proxyip-tests"]);
    command.args(["--bin", "bench_packets"]);
    crate::command::run(&mut command)?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let path = workspace_root().join(target).join("ci/bench_packets");
    fs::canonicalize(&path).with_context(|| path.display().to_string())
}
